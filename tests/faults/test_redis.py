"""Redis that freezes, dies and comes back, or refuses writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from redis.asyncio import Redis

from tests.faults.names import MEASURED
from tests.faults.size import LONG, Size, sized
from tests.faults.stage import Stage, staged
from tests.faults.verdict import ended, forget_what_celery_lost, nothing_lost
from tests.support.processes import free_port
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

#: What a task may take longer for being watched, in seconds.
MOST = 0.25
FREEZE = 10.0 if LONG else 5.5


async def overheads(stage: Stage) -> list[float]:
    """How much longer than its own work each `measured` task held its process, in seconds, oldest first."""
    async with Redis.from_url(stage.broker.url(15)) as broker:
        found: Any = await broker.lrange(MEASURED, 0, -1)
    return [float(each) for each in found]


@pytest.mark.slow
@sized(Size(seconds=6, times=1), Size(tasks=2000, seconds=60, times=3))
async def test_a_frozen_redis_holds_up_no_task(size: Size) -> None:
    with valkey_server() as broker, valkey_server() as journal:
        async with staged("frozen", size, broker, journal_url=journal.url()) as stage:
            for _ in range(40):
                stage.order("measured", 0.02)
            await stage.send(1)
            await ended(stage)
            usual = max(await overheads(stage))
            for _ in range(size.tasks):
                stage.order("measured", 0.02)

            async def freeze() -> None:
                with journal.frozen():
                    start, before = anyio.current_time(), len(await overheads(stage))
                    await eventually(lambda: seen(stage), timeout=5.5, what="the relays to notice")
                    await anyio.sleep_until(start + FREEZE)
                    assert len(await overheads(stage)) > before, "tasks go on"

            await stage.under(freeze, until=0.3)  # so that tasks flow as long as it lasts
            await nothing_lost(stage)
            longest = max(await overheads(stage))
            assert longest < usual + MOST, f"{longest:.3f} s, without the freeze {usual:.3f} s"


async def seen(stage: Stage) -> bool:
    """Whether /readyz of each relay tells that something is wrong."""
    return not any([await run_sync(running.ready) for running in stage.relays])


class Mortal:
    """A server with an append-only file that comes back at its address."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._port = free_port()
        self._exits = ExitStack()
        self.server: Valkey

    def start(self) -> None:
        self.server = self._exits.enter_context(valkey_server(port=self._port, data=self._data))
        with self.server.client() as redis:
            # So that nothing is lost that it has confirmed; by default that is up to a second.
            redis.config_set("appendfsync", "always")

    async def restart(self) -> None:
        """SIGKILL, and start anew."""
        self.server.kill()
        await run_sync(self._exits.close)
        await run_sync(self.start)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            await run_sync(self.start)
            yield
        finally:
            await run_sync(self._exits.close)


@sized(Size(times=2), Size(tasks=2000, seconds=60, times=10))
async def test_a_restarted_redis_is_caught_up_with(size: Size, tmp_path: Path) -> None:
    journal = Mortal(tmp_path)
    async with journal.running():
        with valkey_server() as broker:
            async with staged("restarted", size, broker, journal_url=journal.server.url()) as stage:
                await stage.under(journal.restart)
                await nothing_lost(stage)


@pytest.mark.slow
@sized(Size(times=1), Size(tasks=2000, seconds=60, times=5))
async def test_with_broker_and_results_on_it_too(size: Size, tmp_path: Path) -> None:
    redis = Mortal(tmp_path)
    env = {"VISIBILITY_TIMEOUT": "3"}
    async with redis.running(), staged("restarted, with all on it", size, redis.server, env=env) as stage:
        async with anyio.create_task_group() as group:
            group.start_soon(stage.supervise)  # Celery 5.7's worker may end itself when its broker goes
            await stage.under(redis.restart)
            await forget_what_celery_lost(stage)
            group.cancel_scope.cancel()
        await nothing_lost(stage, again=True)


@sized(Size(times=1), Size(tasks=2000, seconds=60, times=5))
async def test_writes_that_are_refused_are_made_good(size: Size) -> None:
    with valkey_server() as broker, valkey_server() as journal:
        async with staged("refused", size, broker, journal_url=journal.url()) as stage:

            async def fill() -> None:
                with journal.client() as redis:
                    redis.config_set("maxmemory-policy", "noeviction")
                    redis.config_set("maxmemory", 1)
                    try:
                        await anyio.sleep(stage.dice.uniform(1, 2))
                    finally:
                        redis.config_set("maxmemory", 0)

            await stage.under(fill)
            await nothing_lost(stage)
