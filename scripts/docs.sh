#!/bin/sh
# Builds the documentation's site into build/docs: scripts/docs.sh PYTHON FOLDER
# With the versions of requirements/docs.txt, in an environment of their own in FOLDER, which is made where it is missing.
set -eu

python=$1
folder=$2
test -x "$folder/bin/python" || "$python" -m venv "$folder"
if ! cmp -s requirements/docs.txt "$folder/installed.txt"; then
    echo "installing what builds the documentation into $folder …" >&2
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
    cp requirements/docs.txt "$folder/installed.txt"
fi
# Without --quiet, which would keep --strict from seeing the warnings.
if ! said=$(NO_MKDOCS_2_WARNING=1 "$folder/bin/python" -m mkdocs build --strict 2>&1); then
    printf '%s\n' "$said" >&2
    exit 1
fi
echo "build/docs/index.html"
