"""A gateway to test with: a real app on a real broker, with the names of the bundled one's tasks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from celery import Celery, Task
from redis.asyncio import Redis

from tests.support.events import stored
from tests.support.valkey import Valkey
from watcher.core.errors import Refused
from watcher.core.event import Event
from watcher.core.settings import Settings
from watcher.journal.layout import Journal
from watcher.relay.submit.gateway import Gateway

SECRET = "s" * 32
JOURNAL = Journal()


def celery_app(broker: str, backend: str | None = None, **conf: Any) -> Celery:
    """An app with the names of the bundled one's tasks, so that its worker runs what is sent here."""
    app = Celery("tasks", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(accept_content=["json"], **conf)

    @app.task(name="tasks.add", shared=False)
    def add(x: float, y: float) -> float:
        """Return the sum."""
        raise NotImplementedError

    @app.task(name="tasks.sleep", shared=False)
    def sleep(seconds: float = 10.0) -> float:
        raise NotImplementedError

    @app.task(name="tasks.expiring", expires=60, shared=False)
    def expiring() -> None:
        raise NotImplementedError

    @app.task(name="tasks.text", shared=False)
    def text(text: str) -> None:
        raise NotImplementedError

    class Stubborn(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
        name = "tasks.stubborn"

        def run(self) -> None:
            raise NotImplementedError

        def apply_async(self, *_: Any, **__: Any) -> Any:
            raise ValueError("not today")

    app.register_task(Stubborn())
    return app


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(url, protocol=2, socket_timeout=2, socket_connect_timeout=2)
    try:
        yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def gateway_to(
    app: Celery | None, redis_url: str, settings: Settings | None = None
) -> AsyncIterator[tuple[Gateway, Redis]]:
    async with client(redis_url) as redis:
        gateway = Gateway(app, settings or Settings(), JOURNAL, redis)
        try:
            yield gateway, redis
        finally:
            await gateway.aclose()


def request(task: str = "tasks.add", *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> bytes:
    return json.dumps({"task": task, "args": args, "kwargs": kwargs, "options": options or {}}).encode()


def journal(valkey: Valkey) -> list[Event]:
    with valkey.client() as redis:
        return [told for _, told in stored(redis.xrange(JOURNAL.stream))]


def queued(valkey: Valkey, queue: str = "celery") -> list[dict[str, Any]]:
    """Messages in the broker, oldest first."""
    with valkey.client(15) as redis:
        return [json.loads(raw) for raw in reversed(redis.lrange(queue, 0, -1))]


async def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = anyio.current_time()
    try:
        outcome = await call()
    except Refused as error:
        outcome = error
    return anyio.current_time() - start, outcome
