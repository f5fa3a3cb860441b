"""A Celery app whose tasks lead lives that are legal and hard to tell. A worker of it may have a wrong clock."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, chain, chord, group
from redis import Redis

import watcher
from tests.support.gate import pass_through

if "CLOCK" in os.environ:  # a file with the seconds by which this process's clock is ahead
    clock, right = Path(os.environ["CLOCK"]), time.time
    time.time = lambda: right() + float(clock.read_text())

app = Celery("tests.lives", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": float(os.environ.get("VISIBILITY", "3600"))},
    result_extended="EXTENDED" in os.environ,
    task_protocol=int(os.environ.get("PROTOCOL", "2")),
    task_track_started="TRACK" in os.environ,
    task_default_queue=os.environ.get("QUEUE", "celery"),
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_prefetch_multiplier=1,
)
watcher.install(app)

results = Redis.from_url(os.environ["CELERY_RESULT_BACKEND"], socket_timeout=None)  # a gate may stay closed for long


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="chameleon", bind=True)
def chameleon(self: Task[Any, Any]) -> Any:
    if self.request.retries == 0:
        raise self.retry(countdown=0, exc=OSError("not yet"))
    return self.replace(add.s(20, 22))


@app.task(name="replaced_by_chain", bind=True)
def replaced_by_chain(self: Task[Any, Any]) -> Any:
    return self.replace(add.s(1, 2) | add.s(39))


@app.task(name="fails")
def fails() -> None:
    raise ValueError("boom")


@app.task(name="replaced_by_failing", bind=True)
def replaced_by_failing(self: Task[Any, Any], how: str) -> Any:
    if self.request.retries == 0:
        raise self.retry(countdown=0, exc=OSError("not yet"))
    return self.replace(chain(fails.si(), add.si(1, 2)) if how == "chain" else chord([fails.si()], add.si(1, 2)))


@app.task(name="replaced_by_waiting", bind=True)
def replaced_by_waiting(self: Task[Any, Any], how: str, gate: str) -> Any:
    waiting, last = gated.si(gate).set(queue="elsewhere"), add.si(20, 22)
    return self.replace({"chain": chain(waiting, last), "chord": chord([waiting], last), "group": group(waiting)}[how])


@app.task(name="gated")
def gated(gate: str, failure: str | None = None) -> str:
    pass_through(results, gate)
    if failure:
        raise ValueError(failure)
    return "done"


@app.task(name="late", bind=True, acks_late=True)
def late(self: Task[Any, Any], gate: str) -> str:
    """Report in which delivery it runs, and wait at the gate."""
    delivery: Any = self.request.delivery_info
    which = "again" if delivery.get("redelivered") else "first"
    self.update_state(state="PROGRESS", meta={"delivery": which})
    pass_through(results, gate)
    return which


@app.task(name="patient", bind=True)
def patient(self: Task[Any, Any], gate: str, /, **options: Any) -> str:
    if self.request.retries == 0:
        raise self.retry(exc=OSError("come back later"), kwargs={}, **options)
    pass_through(results, gate)
    return "done"


@app.task(name="ticks", bind=True)
def ticks(self: Task[Any, Any], gates: list[str]) -> None:
    for number, gate in enumerate(gates):
        self.update_state(state="PROGRESS", meta={"tick": number})
        pass_through(results, gate)


class Lingering(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Its hook takes longer than it may."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        time.sleep(60)


@app.task(name="lingering", base=Lingering, time_limit=1)
def lingering() -> int:
    return 7
