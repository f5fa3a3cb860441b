"""The Celery app under fault: tasks that end in every way, and that measure what being watched costs them."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Celery, Task, signals
from redis import Redis

import watcher
from tests.faults.names import MEASURED, RUNS

app = Celery("faults", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("VISIBILITY_TIMEOUT", "3600")),
        "unacked_restore_interval": 1,  # seconds between two looks at what was not acknowledged …
        "unacked_restore_throttle": 1,  # … of which by default only each tenth is one
        "unacked_mutex_expire": 5,  # who dies while it looks keeps all others from it for so long; by default 300
    },
    result_extended=False,
    task_track_started=False,
    worker_prefetch_multiplier=1,
)

_broker = Redis.from_url(os.environ["CELERY_BROKER_URL"])
_begun: dict[str, float] = {}


def _begin(task_id: str, **_: Any) -> None:
    _begun[task_id] = time.monotonic()


def _end(task_id: str, args: Any, task: Any, **_: Any) -> None:
    held = time.monotonic() - _begun.pop(task_id)
    if task.name == "measured":
        _broker.rpush(MEASURED, held - float(args[0]))


def _killed_before_it_is_told(sender: Any, **_: Any) -> None:
    """The result is stored when this signal fires; whoever listens after this handler hears nothing any more."""
    if sender.name == "stored":
        os.kill(os.getpid(), signal.SIGKILL)


# Handlers run in the order of their connection: these stand around the plugin's.
signals.task_prerun.connect(_begin, weak=False)
signals.task_success.connect(_killed_before_it_is_told, weak=False)
watcher.install(app)
signals.task_postrun.connect(_end, weak=False)


@app.task(name="work")
def work(seconds: float, number: int) -> int:
    time.sleep(seconds)
    return number * 2


@app.task(name="blob")
def blob(size: int) -> str:
    return "x" * size


@app.task(name="measured")
def measured(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(name="fail")
def fail(message: str) -> None:
    raise ValueError(message)


@app.task(name="flaky", bind=True, max_retries=1)
def flaky(self: Task[Any, Any], number: int) -> int:
    if self.request.retries == 0:
        raise self.retry(countdown=0.1, exc=ConnectionError("not yet"))
    return number


@app.task(name="report", bind=True)
def report(self: Task[Any, Any], number: int) -> int:
    for current in range(1, 4):
        self.update_state(state="PROGRESS", meta={"current": current, "total": 3})
    return number


@app.task(name="once", bind=True)
def once(self: Task[Any, Any]) -> str | None:
    """Count how often it runs."""
    _ = _broker.hincrby(RUNS, str(self.request.id), 1)
    return self.request.id


@app.task(name="pause")
def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(name="vanish")
def vanish() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="leave")
def leave() -> None:
    os._exit(137)  # as a process ends that runs out of memory


@app.task(name="stored")
def stored(number: int) -> int:
    return number * 2


@app.task(name="soft", soft_time_limit=1)
def soft() -> None:
    time.sleep(30)


@app.task(name="hard", time_limit=1)
def hard() -> None:
    time.sleep(30)


@app.task(name="late", bind=True, acks_late=True)
def late(self: Task[Any, Any], seconds: float) -> str | None:
    """Taken off the queue only when it has ended; the first time it takes long."""
    runs = int(str(_broker.hincrby(RUNS, str(self.request.id), 1)))
    time.sleep(seconds if runs == 1 else 0)
    return self.request.id
