"""A relay with its safety net and workers, for all tests of a module, and what the relay shows of a task."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from tests.support.events import event, record
from tests.support.processes import Relay, relay, worker
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from watcher.journal.layout import Journal
from watcher.journal.scripts import APPEND

APP = "tests.lives.app"

#: Seconds after which the broker delivers again what was not acknowledged.
VISIBILITY = 1


class Shown:
    """What a relay shows of tasks; and an app that sends them, with the plugin's headers."""

    def __init__(self, serving: Relay, valkey: Valkey, app: Celery) -> None:
        self._serving = serving
        self._valkey = valkey
        self.app = app
        self.results: Any = Redis.from_url(valkey.url(14))

    def of(self, identity: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self._serving.url}/api/tasks/{identity}", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise

    def listed(self, query: str = "") -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self._serving.url}/api/tasks?{query}", timeout=5) as answer:
            return list(json.load(answer)["tasks"])

    def until(self, identity: str, true: Callable[[dict[str, Any]], object], timeout: float = 20) -> dict[str, Any]:
        """What is shown, once something is true of it."""
        last: dict[str, Any] = {}

        def seen() -> dict[str, Any] | None:
            nonlocal last
            last = self.of(identity)
            return last if true(last) else None

        try:
            return wait_for(seen, timeout=timeout, what=f"task {identity}")
        except AssertionError as error:
            raise AssertionError(f"{error}; last shown: {last}") from None

    def state(self, identity: str, state: str, timeout: float = 20, **fields: Any) -> dict[str, Any]:
        """What is shown, once it is in a state."""
        wanted = {"state": state, **fields}.items()
        return self.until(identity, lambda task: all(task.get(name) == value for name, value in wanted), timeout)

    def send(self, name: str, *args: Any, **options: Any) -> str:
        return str(self.app.send_task(name, args, **options).id)

    def can_be_redelivered(self) -> None:
        """Wait until the broker takes what nobody has acknowledged for lost: a worker that starts looks once."""
        with self._valkey.client(15) as broker:
            oldest: Any = broker.zrange("unacked_index", 0, 0, withscores=True)[0][1]
            wait_for(lambda: time.time() - oldest > VISIBILITY, what="the message to be taken for lost")

    def after_the_net(self) -> None:
        """Wait until the safety net has gone through what is unfinished, and looked up what was stored before now."""
        with self._valkey.client(14) as redis:
            number = redis.incr("sentinels")
            swept, heard = f"swept-{number}", f"heard-{number}"
            # The net gives a plugin that has told of a task the longest time.
            told = [record(event(swept)), record(event(heard, "STARTED"))]
            keys, arguments = Journal(database=14).append(f"sentinel-{number}", 1, told)
            redis.register_script(APPEND)(keys=keys, args=arguments)
        self.results.set(f"celery-task-meta-{swept}", '{"status": "SUCCESS", "result": 1}')
        self.app.backend.store_result(heard, 1, "SUCCESS")
        for identity in (heard, swept):
            self.until(identity, lambda task: task["state"] == "SUCCESS" and task["offset"])


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """A server that tests of other modules don't empty."""
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="module")
def env(server: Valkey) -> dict[str, str]:
    return {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}


@pytest.fixture(scope="module")
def serving(env: dict[str, str]) -> Iterator[Relay]:
    with relay(APP, env=env) as running:
        yield running


@contextmanager
def sharing(queue: str, env: dict[str, str]) -> Iterator[str]:
    """A worker of a queue and a name of its own, for tests that don't end it; what its tasks send goes there, too."""
    with worker(APP, "-n", f"{queue}@here", env={**env, "QUEUE": queue}):
        yield queue


@pytest.fixture(scope="module")
def shared(env: dict[str, str]) -> Iterator[str]:
    """The queue of a worker that tests share."""
    with sharing("shared", env) as queue:
        yield queue


@pytest.fixture(scope="module")
def extended(env: dict[str, str]) -> Iterator[str]:
    """That of another, which stores more of each task: Celery's ``result_extended``."""
    with sharing("extended", {**env, "EXTENDED": "1"}) as queue:
        yield queue


@pytest.fixture
def shown(serving: Relay, server: Valkey, env: dict[str, str]) -> Iterator[Shown]:
    """The app that sends has no plugin: workers must do with what there is."""
    with server.client(15) as broker:  # what a test before has left to workers, and nothing that a living one needs
        broker.delete("celery", "elsewhere", "again", "unacked", "unacked_index")
    app = Celery("sender", broker=env["CELERY_BROKER_URL"], backend=env["CELERY_RESULT_BACKEND"], set_as_current=False)
    made = Shown(serving, server, app)
    yield made
    made.results.close()
    app.close()
