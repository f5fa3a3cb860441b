"""A feed at work on a real server, what it hands on, and a writer beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.events import record
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.event import Event
from watcher.journal.layout import Journal
from watcher.journal.scripts import APPEND
from watcher.relay.stream.feed import Feed
from watcher.relay.stream.positions import Positions
from watcher.relay.stream.snapshot import JournalSnapshot


class Follower:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.snapshots: list[JournalSnapshot] = []
        self.lines: list[bytes] = []
        self.handed: list[int] = []
        self.troubles: list[str | None] = []
        self.sends: Callable[[], None] | None = None

    def restart(self, snapshot: JournalSnapshot) -> None:
        self.snapshots.append(snapshot)
        self.lines = list(snapshot.lines)

    def extend(self, lines: Sequence[bytes]) -> None:
        self.lines += lines
        self.handed.append(len(lines))
        if self.sends is not None:
            self.sends()

    def disturb(self, trouble: str | None) -> None:
        self.troubles.append(trouble)


class Running:
    """A feed at work, and a writer beside it."""

    def __init__(self, valkey: Valkey, journal: Journal) -> None:
        self.redis = Redis.from_url(
            valkey.url(), protocol=2, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        self.journal = journal
        self.sink = Follower()
        self.positions = Positions(self.redis, journal)
        self.feed = Feed(self.redis, journal, self.positions, self.sink)
        self.number = 0

    async def append(self, *told: Event) -> None:
        self.number += 1
        keys, arguments = self.journal.append("w", self.number, [record(each) for each in told])
        await self.redis.register_script(APPEND)(keys=keys, args=arguments)

    async def has(self, count: int, timeout: float = 10) -> None:
        what = f"the feed to hand on {count} events; it has {len(self.sink.lines)}"
        await eventually(lambda: len(self.sink.lines) == count, timeout=timeout, what=what)

    async def ready(self) -> None:
        await eventually(lambda: self.feed.trouble is None, what="the feed to be caught up")

    async def break_connections(self) -> None:
        await self.redis.client_kill_filter(_type="pubsub")


@asynccontextmanager
async def feeding(valkey: Valkey, **bounds: Any) -> AsyncIterator[Running]:
    running = Running(valkey, Journal(**bounds))
    async with running.redis, anyio.create_task_group() as group:
        group.start_soon(running.feed.run)
        yield running
        group.cancel_scope.cancel()
