"""A Celery app whose tasks end in every way that there is. What is installed how, the environment says."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Celery, Task, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

import watcher

app = Celery("tests.worker", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    task_routes={"aside": {"queue": "aside"}},
    broker_transport_options={"socket_timeout": 5},
)
if "CONFIGURED" in os.environ:  # `include` or `imports`
    app.conf[os.environ["CONFIGURED"]] = ["watcher.worker"]
if os.environ.get("POOL_START_METHOD"):
    app.conf.worker_pool_start_method = os.environ["POOL_START_METHOD"]
if os.environ.get("INSTALL") == "1":
    watcher.install(app)
    watcher.install(app)  # must change nothing


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="echo")
def echo(value: Any) -> Any:
    return value


@app.task(name="fail")
def fail(message: str) -> None:
    raise ValueError(message)


@app.task(name="flaky", bind=True, max_retries=3)
def flaky(self: Task[Any, Any]) -> str:
    if self.request.retries == 0:
        raise self.retry(countdown=0.2, exc=ConnectionError("not yet"))
    return "at last"


@app.task(name="report", bind=True)
def report(self: Task[Any, Any], times: int, state: str = "PROGRESS") -> int:
    for current in range(1, times + 1):
        self.update_state(state=state, meta={"current": current, "total": times})
    return times


@app.task(name="pause")
def pause(seconds: float) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
    return seconds


@app.task(name="ignore")
def ignore() -> None:
    raise Ignore


@app.task(name="told", bind=True)
def told(self: Task[Any, Any]) -> None:
    self.update_state(state="FAILURE", meta={"exc_type": "ValueError", "exc_message": ["my way"]})
    raise Ignore


@app.task(name="early", bind=True)
def early(self: Task[Any, Any]) -> str:
    self.update_state(state="SUCCESS", meta={"not": "yet"})
    return "the end"


@app.task(name="reject", acks_late=True)
def reject() -> None:
    raise Reject("not mine", requeue=False)


@app.task(name="requeue", bind=True, acks_late=True)
def requeue(self: Task[Any, Any]) -> str:
    delivery: Any = self.request.delivery_info
    if not delivery.get("redelivered"):
        raise Reject("another time", requeue=True)
    return "again"


@app.task(name="soft", soft_time_limit=1)
def soft() -> None:
    time.sleep(20)


@app.task(name="caught", bind=True, soft_time_limit=1)
def caught(self: Task[Any, Any]) -> str:
    try:
        while True:
            self.update_state(state="PROGRESS", meta={"current": 1})
    except SoftTimeLimitExceeded:
        return "in time"


@app.task(name="hard", time_limit=1)
def hard() -> None:
    time.sleep(20)


@app.task(name="vanish")
def vanish() -> None:
    time.sleep(0.3)  # so that STARTED has left the process that is about to end
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="replace", bind=True)
def replace(self: Task[Any, Any]) -> Any:
    return self.replace(add.s(20, 22))


@app.task(name="spawn")
def spawn() -> list[str | None]:
    with watcher.tags("inner"):
        return [add.delay(1, 2).id, pause.apply_async((0.01,), queue="celery").id]


@app.task(name="family")
def family() -> list[str]:
    children: Any = group(add.s(1, 1), add.s(2, 2)).delay()
    return [children.id, *(child.id for child in children.results)]


@app.task(name="unpicklable")
def unpicklable() -> None:
    class Odd(Exception):
        def __init__(self) -> None:
            super().__init__(lambda: None)

        def __str__(self) -> str:
            return "odd"

    raise Odd


@app.task(name="hostile")
def hostile() -> Any:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

        def __json__(self) -> Any:
            raise KeyError("no")

    return Hostile()
