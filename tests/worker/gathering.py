"""A task base class that runs many calls together, with the signals that celery-batches 0.11 fires, and an app of them.

``GATHER=celery_batches`` takes that package's own class instead, where it is installed.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Celery, Task, signals
from celery.app.task import Context
from celery.worker import request as requests
from kombu.utils.uuid import uuid

import watcher

_SIZE = 3


class Call:
    """What a batch is given of each call; it goes to the pool's child."""

    def __init__(self, request: Any) -> None:
        self.id = request.id
        self.args, self.kwargs, _ = request._payload
        self.request_dict = request.request_dict
        self.ignore_result = request.ignore_result
        self.chord = None


class Batches(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Collects calls in the worker's main process, and runs so many at once in a child."""

    abstract = True
    typing = False
    flush_every = _SIZE

    def Strategy(self, task: Any, app: Any, consumer: Any) -> Any:  # type: ignore[override] # noqa: N802 - as Celery takes it
        module: Any = requests
        request_class = module.create_request_cls(
            module.Request, task, consumer.pool, consumer.hostname,
            consumer.event_dispatcher, app=app,
        )  # fmt: skip
        waiting: list[Any] = []

        def handle(message: Any, _body: Any, ack: Any, reject: Any, _callbacks: Any, **_: Any) -> None:
            request = request_class(
                message, on_ack=ack, on_reject=reject, app=app, hostname=consumer.hostname, task=task,
                eventer=consumer.event_dispatcher, connection_errors=consumer.connection_errors,
            )  # fmt: skip
            waiting.append(request)
            signals.task_received.send(sender=consumer, request=request)
            if len(waiting) == _SIZE:
                self._flush(consumer.pool, waiting.copy())
                waiting.clear()

        return handle

    def _flush(self, pool: Any, requests: list[Any]) -> None:
        def acknowledge(*_: Any) -> None:
            for request in requests:
                request.acknowledge()

        when = "callback" if self.acks_late else "accept_callback"
        pool.apply_async(run_together, (self, ([Call(each) for each in requests],)), **{when: acknowledge})


def run_together(task: Any, args: Any) -> None:
    """Runs in the child, under an id that nobody sent."""
    identity = uuid()
    task.request_stack.push(Context(loglevel=0))
    try:
        signals.task_prerun.send(sender=task, task_id=identity, task=task, args=args, kwargs={})
        try:
            result = task(*args)
        except Exception:  # noqa: BLE001 - celery-batches logs it
            result, state = None, "FAILURE"
        else:
            state = "SUCCESS"
            signals.task_success.send(sender=task, result=result)
        signals.task_postrun.send(
            sender=task, task_id=identity, task=task, args=args, kwargs={}, retval=result, state=state
        )
    finally:
        task.request_stack.pop()


if os.environ.get("GATHER") == "celery_batches":
    from celery_batches import Batches  # type: ignore[import-not-found,no-redef] # it need not be installed

app = Celery(
    "tests.worker.gathering", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"]
)
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=0)
watcher.install(app)
OPTIONS: dict[str, Any] = {"base": Batches, "flush_every": _SIZE, "flush_interval": 60}


@app.task(name="sums", **OPTIONS)
def sums(calls: list[Any]) -> str:
    """Gives each call its own end."""
    for call in calls:
        x, y = call.args
        if y:
            app.backend.mark_as_done(call.id, x + y, request=call)
        else:
            app.backend.mark_as_failure(call.id, ValueError("nothing to add"), request=call)
    return "not theirs"


@app.task(name="quiet", ignore_result=True, **OPTIONS)
def quiet(calls: list[Any]) -> int:
    """Tells nobody."""
    return len(calls)


@app.task(name="raising", **OPTIONS)
def raising(calls: list[Any]) -> None:
    """Ends one, and fails."""
    app.backend.mark_as_done(calls[0].id, "in time", request=calls[0])
    raise KeyError("oops")


@app.task(name="vanishing", **OPTIONS)
def vanishing(calls: list[Any]) -> None:
    time.sleep(0.3)  # so that STARTED has left the process that is about to end
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="vanishing_late", acks_late=True, **OPTIONS)
def vanishing_late(calls: list[Any]) -> None:
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y
