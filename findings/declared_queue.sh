#!/bin/sh
# Celery 5.7: where apply_async names an exchange and a routing key, before_task_publish gives the default queue as
# `declare`, to which the message doesn't go.
#
# The router adds the default queue to the options where the sender gave none (celery/app/routes.py, Router.route); the
# exchange and the routing key that were given win when the message is sent, and the queue is declared all the same
# (celery/app/amqp.py, send_task_message). Who reads the queue's name from the signal reads the wrong one.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0

"$folder/bin/python" - << 'PYTHON'
import sys

import celery
import kombu
from celery.signals import before_task_publish

app = celery.Celery("proj", broker="memory://")
feeds = kombu.Queue("feeds", kombu.Exchange("news", type="topic"), routing_key="feed.#")
app.conf.task_queues = (kombu.Queue("celery"), feeds)
told = {}


@app.task
def fetch(address):
    return address


@before_task_publish.connect(weak=False)
def on_publish(exchange=None, routing_key=None, declare=None, **_):
    told.update(exchange=exchange, routing_key=routing_key, declare=[queue.name for queue in declare or ()])


with app.connection() as connection:
    queues = [queue(connection.default_channel) for queue in app.amqp.queues.values()]
    for queue in queues:
        queue.declare()
    fetch.apply_async(("http://localhost/",), exchange="news", routing_key="feed.import")
    waiting = {queue.name: queue.queue_declare(passive=True).message_count for queue in queues}

print(f"celery {celery.__version__}, kombu {kombu.__version__}")
print("apply_async(exchange='news', routing_key='feed.import'):")
print(f"before_task_publish is told: {told}")
print(f"messages in each queue: {waiting}")

if told["declare"] != ["celery"] or waiting != {"celery": 0, "feeds": 1}:
    sys.exit("changed: `declare` was the queue 'celery', and the message went to 'feeds'")
print("as found: `declare` names 'celery', and the message is in 'feeds'")
PYTHON
