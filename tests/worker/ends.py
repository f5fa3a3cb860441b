"""A worker whose tasks end in unusual ways, who sends it tasks, and what its result backend says of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from celery import Celery
from celery.result import AsyncResult, GroupResult
from redis import Redis

from tests.support.apps import let_go
from tests.support.processes import Program, worker
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from tests.worker.support import Reader
from watcher.core.event import Event, Task

#: The tags that tasks are sent with, and the worker's name.
TAGS = ("mine",)
HEADERS: Any = {"watcher_tags": list(TAGS)}
WORKER = "box@here"


class Scene:
    """A worker of one pool, an app that sends it tasks, and the journal. The app's process has no plugin."""

    def __init__(self, pool: str, server: Valkey, running: Program) -> None:
        self.pool = pool
        self.server = server
        self.worker = running
        self.app = Celery("ends", broker=server.url(1), backend=server.url(2), set_as_current=False)
        self.journal = Reader(server.url())

    def send(self, task: str, *args: Any, **options: Any) -> str:
        """Send a task, and return its id."""
        return str(self.app.signature(task, args).apply_async(headers=HEADERS, **options).id)

    def run(self, task: str, *args: Any, **options: Any) -> list[Event]:
        """Send a task, and return its events when it is final."""
        return self.journal.wait(self.send(task, *args, **options))

    def task(self, task_id: str, *, final: bool = True) -> Task:
        """What is known of a task, once it is final."""

        def known() -> Task | None:
            task = self.journal.task(task_id)
            return task if task is not None and (task.final or not final) else None

        return wait_for(known, what=f"the end of {task_id}, of which there is {self.journal.of(task_id)}")

    def stored(self, task_id: str) -> dict[str, Any] | None:
        """What the backend has of a task; None where it has nothing."""
        with Redis.from_url(self.server.url(2)) as backend:
            found: Any = backend.get(f"celery-task-meta-{task_id}")
        return msgspec.json.decode(found) if found else None

    def all_stored(self) -> set[str]:
        """The ids that the backend has something of."""
        with Redis.from_url(self.server.url(2)) as backend:
            keys: Any = backend.keys("celery-task-meta-*")
        return {key.decode().removeprefix("celery-task-meta-") for key in keys}


@contextmanager
def scene(pool: str, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Scene]:
    with valkey_server() as server:
        at = {
            "CELERY_BROKER_URL": server.url(1),
            "CELERY_RESULT_BACKEND": server.url(2),
            "WATCHER_REDIS_URL": server.url(0),
            "INSTALL": "1",
        }
        arguments = ("-n", WORKER, *arguments)
        with worker("tests.worker.ends_app", *arguments, pool=pool, env={**at, **(env or {})}) as running:
            made = Scene(pool, server, running)
            yield made
            made.journal.close()
            let_go(made.app)
            made.app.close()
            assert "watcher: events are missing" not in running.output, running.output


def value(raw: object) -> Any:
    assert isinstance(raw, msgspec.Raw)
    return msgspec.json.decode(raw)


def ids_of(result: Any) -> list[str]:
    """The ids of the tasks of a workflow's result, the last ones first."""
    ids: list[str] = []
    left: list[Any] = [result]
    while left:
        each = left.pop(0)
        left += list(each.results or ()) if isinstance(each, GroupResult) else []
        left += [each.parent] if each.parent is not None else []
        ids += [each.id] if isinstance(each, AsyncResult) else []
    return list(dict.fromkeys(ids))
