#!/bin/sh
# openapi-python-client 0.29.1 leaves out an operation whose request body has an array without `items`, and ends with 0.
#
# Such an array is valid OpenAPI 3.1: `items` may be anything then (JSON Schema 2020-12, core, 10.3.1.2). A warning is all
# that tells of it; the other operations are there, so the client that is made looks whole.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openapi-python-client==0.29.1 \
    openapi-spec-validator==0.9.0

cd "$folder"
cat > openapi.json << 'JSON'
{
  "openapi": "3.1.0",
  "info": {"title": "proj", "version": "1"},
  "paths": {
    "/with": {
      "post": {
        "operationId": "with_items",
        "requestBody": {"content": {"application/json": {"schema": {"type": "array", "items": {}}}}},
        "responses": {"200": {"description": "done"}}
      }
    },
    "/without": {
      "post": {
        "operationId": "without_items",
        "requestBody": {"content": {"application/json": {"schema": {"type": "array"}}}},
        "responses": {"200": {"description": "done"}}
      }
    }
  }
}
JSON
venv/bin/openapi-spec-validator openapi.json
venv/bin/openapi-python-client --version
status=0
venv/bin/openapi-python-client generate --path openapi.json --meta none --output-path client || status=$?
made=$(find client/api -name '*_items.py' -exec basename {} .py \; | sort | tr '\n' ' ')
echo "exit code: $status; operations of the client: $made"

if [ "$status" != 0 ] || [ "$made" != "with_items " ]; then
    echo "changed: it was exit code 0, and with_items alone" >&2
    exit 1
fi
echo "as found: without_items is left out"
