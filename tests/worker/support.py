"""A journal to read, and a process that sends tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from celery import Celery, current_app
from redis import Redis

from tests.support.events import stored
from tests.support.processes import ROOT, environment
from tests.support.waiting import wait_for
from watcher.core.event import Event, Task, is_final, task_of
from watcher.core.order import standing
from watcher.journal.layout import Journal

JOURNAL = Journal()


class Reader:
    """Reads the journal's stream."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=5)

    def close(self) -> None:
        self._redis.close()

    def entries(self) -> list[tuple[int, Event]]:
        """All events with their offsets, which must have no hole."""
        read = stored(cast("list[Any]", self._redis.xrange(JOURNAL.stream)))
        offsets = [offset for offset, _ in read]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else True
        return read

    def ids(self) -> list[str]:
        """The task of each event."""
        return [event.id for _, event in self.entries()]

    def of(self, task_id: str) -> list[Event]:
        """The events of one task, as they arrived."""
        return [event for _, event in self.entries() if event.id == task_id]

    def task(self, task_id: str) -> Task | None:
        return task_of((offset, event) for offset, event in self.entries() if event.id == task_id)

    def until(self, task_id: str, predicate: Callable[[list[str]], object], *, timeout: float = 20.0) -> list[Event]:
        """The events of one task in the order in which they happened, once the names of their states are as wanted.

        Sender, worker and child publish by themselves, so what came before the end may arrive a moment after it.
        """

        def enough() -> list[Event] | None:
            events = sorted(self.of(task_id), key=standing)
            return events if predicate(states(events)) else None

        try:
            return wait_for(enough, timeout=timeout, what=f"the states of {task_id}")
        except AssertionError as error:
            raise AssertionError(f"{error}, of which there are {states(self.of(task_id))}") from None

    def wait(self, task_id: str, *expected: str) -> list[Event]:
        """The events of one task, once they are those expected, in that order; or once it is final."""
        if expected:
            return self.until(task_id, lambda seen: seen == list(expected))
        return self.until(task_id, lambda seen: bool(seen) and is_final(seen[-1]))


class Producer:
    """A process that sends tasks."""

    def __init__(self, env: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.worker.producer"]
        self.process = subprocess.Popen(
            command, env=environment(env), cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def order(self, task: str, *args: Any, tags: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
        """Send a task; its id, and how long sending took in seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"task": task, "args": args, "tags": tags, "options": options}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def send(self, task: str, *args: Any, tags: tuple[str, ...] = (), **options: Any) -> str:
        """Send a task; its id."""
        return str(self.order(task, *args, tags=tags, **options)["id"])

    def finish(self) -> int:
        """Let it end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(10)


@contextmanager
def producer(env: Mapping[str, str]) -> Iterator[Producer]:
    running = Producer(env)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        for pipe in (running.process.stdin, running.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def current(app: Celery) -> Iterator[None]:
    """Let it be the process's current app, and closed in the end."""
    before: Any = current_app
    before = before._get_current_object()
    app.set_current()
    try:
        yield
    finally:
        before.set_current()
        app.close()


def states(events: list[Event]) -> list[str]:
    return [event.state for event in events]
