#!/bin/sh
# Celery 5.7 with quorum queues: apply_async(countdown=0.5) raises ValueError, while 0, 1 and 1.5 are sent.
#
# A task for later goes into RabbitMQ's own delay there. Celery cuts the countdown down to whole seconds (celery/app/base.py,
# send_task), and kombu refuses 0 of them (kombu/transport/native_delayed_delivery.py, calculate_routing_key). So does a
# retry with such a countdown, or one whose eta comes within the next second.
# It takes no RabbitMQ: what is accepted goes as far as the connection, which port 1 refuses.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0

"$folder/bin/python" - << 'PYTHON'
import sys

import celery
import kombu
from kombu.exceptions import OperationalError

app = celery.Celery("proj", broker="amqp://127.0.0.1:1//")
app.conf.task_default_queue_type = "quorum"
app.conf.task_default_exchange_type = "topic"
app.conf.broker_transport_options = {"max_retries": 1, "interval_start": 0, "interval_step": 0}


@app.task
def add(x, y):
    return x + y


def sent(countdown):
    try:
        add.apply_async((1, 2), countdown=countdown, retry=False)
    except OperationalError:
        return "accepted"
    except ValueError as error:
        return f"ValueError: {error}"


print(f"celery {celery.__version__}, kombu {kombu.__version__}, a quorum queue on a topic exchange")
found = {countdown: sent(countdown) for countdown in (0, 0.5, 1, 1.5)}
for countdown, outcome in found.items():
    print(f"apply_async(countdown={countdown}): {outcome}")

refused = [countdown for countdown, outcome in found.items() if outcome != "accepted"]
if refused != [0.5] or not found[0.5].startswith("ValueError"):
    sys.exit("changed: it was 0.5 alone that was refused, with a ValueError")
print("as found: 0.5 is refused, and 0, 1 and 1.5 are not")
PYTHON
