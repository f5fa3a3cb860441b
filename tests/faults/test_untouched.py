"""Workers that have never heard of watcher: what Redis publishes while it, or the relay, is away, nobody hears."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from tests.faults import flow
from tests.faults.size import Size, chance, sized
from tests.faults.test_redis import Mortal
from tests.support.processes import Program, relay, worker
from tests.support.waiting import eventually
from tests.worker.support import Reader
from watcher.core.event import is_final

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

APP = "tests.support.plain"
PREFIX = b"celery-task-meta-"


def stored(redis: Mortal) -> set[str]:
    """The tasks of which a result is stored."""
    with redis.server.client(14) as results:
        return {key.removeprefix(PREFIX).decode() for key in results.scan_iter(PREFIX + b"*", count=1000)}


def told(redis: Mortal) -> set[str]:
    """The tasks whose end is in the journal."""
    reader = Reader(redis.server.url(14))
    try:
        return {event.id for _, event in reader.entries() if is_final(event.state)}
    finally:
        reader.close()


@asynccontextmanager
async def supervised(env: dict[str, str]) -> AsyncIterator[None]:
    """A worker, and another one where it has ended: Celery 5.7's may end itself when its broker goes."""
    with ExitStack() as exits:
        running: list[Program] = []

        async def start() -> None:
            running.append(await run_sync(exits.enter_context, worker(APP, env=env)))

        async def supervise() -> None:
            while True:
                await eventually(lambda: running[-1].process.poll() is not None, timeout=600, what="an end")
                await start()

        await start()
        async with anyio.create_task_group() as group:
            group.start_soon(supervise)
            yield
            group.cancel_scope.cancel()


def orders(count: int) -> list[flow.Order]:
    return [{"id": str(uuid.uuid4()), "task": "plain.double", "args": [number]} for number in range(count)]


@pytest.mark.slow
@sized(Size(tasks=40, seconds=2, times=1), Size(tasks=300, seconds=15, times=3))
async def test_what_is_stored_is_told_within_ten_seconds(size: Size, tmp_path: Path) -> None:
    """Of a relay's start, and of Redis' return."""
    redis, dice = Mortal(tmp_path), chance("untouched")
    moments = [size.seconds * (number + dice.uniform(0.2, 0.8)) / size.times for number in range(size.times)]

    def all_told() -> bool:
        return stored(redis) <= told(redis)

    async with redis.running():
        env = {"CELERY_BROKER_URL": redis.server.url(15), "CELERY_RESULT_BACKEND": redis.server.url(14)}
        sender = {**env, "SENDER_APP": APP}
        async with supervised(env):
            await flow.send(orders(20), 0, sender)
            await eventually(lambda: len(stored(redis)) == 20, what="ends without a relay")
            with relay(APP, env=env):
                await eventually(all_told, timeout=10, what="what ended without a relay")
                async with anyio.create_task_group() as group:
                    group.start_soon(flow.send, orders(size.tasks), size.seconds, sender)
                    start = anyio.current_time()
                    for moment in moments:
                        await anyio.sleep_until(start + moment)
                        await redis.restart()
                await eventually(lambda: len(stored(redis)) > size.tasks, what="most tasks to end")
                await eventually(all_told, timeout=10, what="what ended meanwhile")
