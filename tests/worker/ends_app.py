"""A Celery app whose tasks end in ways that Celery fires no signal for, or fires one too late."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery, Task, chord
from celery.exceptions import Ignore, Reject
from kombu import Exchange, Queue, binding
from redis import Redis

import watcher
from tests.support.gate import pass_through

FEEDS = Exchange("feeds", type="topic")
QUEUES = [
    Queue("celery"),
    Queue("feeds", FEEDS, routing_key="feed.#"),
    Queue("named", Exchange("named", type="direct"), routing_key="by.key"),
    Queue("everyone", Exchange("everyone", type="fanout")),
    Queue("several", bindings=[binding(FEEDS, routing_key="*.news"), binding(FEEDS, routing_key="news.*.*")]),
]

app = Celery("tests.ends", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_timeout": 5},
    worker_prefetch_multiplier=1,
    task_queues=QUEUES,
    result_backend_transport_options={"retry_policy": {"max_retries": 0}},
)
if os.environ.get("INSTALL") == "1":
    watcher.install(app)

GATES = os.environ.get("WATCHER_REDIS_URL", "")


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="again", bind=True)
def again(self: Task[Any, Any]) -> str:
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return "again"


@app.task(name="sends")
def sends(task: str, options: dict[str, Any]) -> str:
    with app.producer_or_acquire() as producer:
        for queue in QUEUES:
            producer.maybe_declare(queue)
        return str(app.tasks[task].apply_async(producer=producer, **options).id)


class Hooked(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Its hooks fail: always, or the first time."""

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        if args[0] == "on_failure" or (args[0] == "once" and isinstance(exc, ValueError)):
            raise OSError("in the hook")

    def on_retry(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        raise OSError("in the hook")


@app.task(name="hooked", base=Hooked, bind=True)
def hooked(self: Task[Any, Any], where: str) -> None:
    if where == "on_retry":
        raise self.retry(countdown=600)
    raise ValueError("in the task")


@app.task(name="n")
def n(*_: Any) -> str:
    return "ran"


@app.task(name="bad")
def bad(*_: Any) -> None:
    raise ValueError("boom")


@app.task(name="gated")
def gated(gate: str, value: Any = "through") -> Any:
    """Wait at a gate, beside the result backend."""
    with Redis.from_url(GATES) as redis:
        pass_through(redis, gate)
    if value == "vanish":
        os.kill(os.getpid(), signal.SIGKILL)
    if value == "bad":
        raise ValueError("boom")
    return value


@app.task(name="exits")
def exits(how: str) -> None:
    if how == "os":
        os._exit(3)
    raise {"sys": SystemExit(3), "key": KeyboardInterrupt(), "generator": GeneratorExit(), "base": BaseException("x")}[
        how
    ]


class Odd(Exception):
    """It takes more than it passes on, as many do: it can't be unpickled."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class OddValue(ValueError):
    """The same, with a base class that can be pickled."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


@app.task(name="odd")
def odd(kind: str) -> None:
    raise {"Odd": Odd, "OddValue": OddValue}[kind](7, "as written")


@app.task(name="unsendable", bind=True, max_retries=3)
def unsendable(self: Task[Any, Any], it: Any = None) -> None:
    raise self.retry(countdown=0, kwargs={"it": lambda: None}, exc=OSError("first"))


@app.task(name="goes_on", bind=True, max_retries=3)
def goes_on(self: Task[Any, Any], ending: str = "returns") -> str:
    if self.request.retries == 0:
        self.retry(countdown=0.3, throw=False)
        return "first" * 5_000
    if ending == "raises":
        raise ValueError("second")
    return "second"


@app.task(name="early", bind=True)
def early(self: Task[Any, Any], ending: str) -> str:
    self.update_state(state="SUCCESS", meta={"told": "first"})
    if ending == "raises":
        raise ValueError("second")
    return "second"


@app.task(name="from_thread", bind=True, max_retries=1)
def from_thread(self: Task[Any, Any], retried: bool, state: str = "PROGRESS") -> str:
    task_id = self.request.id
    if retried and self.request.retries == 0:
        raise self.retry(countdown=0)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(self.update_state, task_id=task_id, state=state, meta={"current": 1}).result()
        threads.submit(n.update_state, task_id=task_id, state=state, meta={"current": 2}).result()
    return "done"


@app.task(name="reports", bind=True)
def reports(self: Task[Any, Any], gate: str, *states: str) -> str:
    for number, state in enumerate(states):
        self.update_state(state=state, meta={"current": number})
    with Redis.from_url(GATES) as redis:
        pass_through(redis, gate)
    return "done"


@app.task(name="tells", bind=True)
def tells(self: Task[Any, Any]) -> None:
    self.update_state(state="FAILURE", meta={"exc_type": "ValueError", "exc_message": ["my way"]})
    raise Ignore


@app.task(name="rejects")
def rejects(requeue: bool = False) -> None:
    raise Reject("not mine", requeue=requeue)


@app.task(name="replaced", bind=True)
def replaced(self: Task[Any, Any], *_: Any) -> Any:
    """Go on as a chord that fails."""
    return self.replace(chord([bad.si(), n.si()], n.si()))
