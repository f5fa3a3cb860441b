"""The connection that listens for results, and breaks while it is told what to listen to."""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint
from redis.exceptions import RedisError

from tests.faults.proxy import Proxy
from tests.journal.test_subscriber import Reticent
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.direct.pubsub_connection import PubSubConnection
from watcher.direct.subscriptions import Interest
from watcher.journal.connect_async import async_client
from watcher.journal.pubsub import confirmed, tell

pytestmark = pytest.mark.anyio


class Ear:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.opened_times = 0
        self.heard: set[str] = set()
        self.errors: list[Exception] = []

    def opened(self) -> None:
        self.opened_times += 1

    def ready(self, name: str) -> None:
        self.heard.add(name)

    def rung(self, name: str) -> None:
        pass

    def on_batch(self, data: bytes) -> None:
        pass

    def refused(self, error: Exception) -> None:
        self.errors.append(error)


@pytest.mark.parametrize("way", ["fast", "redis-py's"])
async def test_it_comes_back_however_often_it_breaks(valkey: Valkey, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    dice, ear, interest = random.Random(6), Ear(), Interest[int]()
    async with Proxy(valkey.host, valkey.port).running() as proxy:
        redis = async_client(proxy.url())
        if way != "fast":
            make: Callable[[], object] = redis.connection_pool.make_connection
            monkeypatch.setattr(redis.connection_pool, "make_connection", lambda: Reticent(make()))
        line = PubSubConnection(redis, "home", "task-", interest, ear)
        async with redis, anyio.create_task_group() as group:
            group.start_soon(line.run)
            for number in range(40):
                await eventually(lambda: line.open, what="the line to be open")
                name = f"t{number}"
                proxy.cut()
                for _ in range(dice.randrange(4)):
                    await checkpoint()
                interest.join(name, number)
                line.stir()
            await eventually(lambda: len(ear.heard) == 40, what="all names to be listened to")
            group.cancel_scope.cancel()
    assert ear.errors == []


@pytest.mark.parametrize("turns", range(4))
async def test_what_breaks_while_it_is_spoken_to_is_a_broken_connection(valkey: Valkey, turns: int) -> None:
    """At whatever turn of the event loop who listens lets go of the socket."""
    outcomes: list[Exception | None] = []
    async with async_client(valkey.url()) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe("home")
        await confirmed(pubsub)
        assert pubsub.connection is not None

        async def speak() -> None:
            try:
                await tell(pubsub, "PING")
            except (OSError, RedisError) as error:
                outcomes.append(error)
            else:
                outcomes.append(None)

        async with anyio.create_task_group() as group:
            group.start_soon(speak)
            for _ in range(turns):
                await checkpoint()
            await pubsub.connection.disconnect(nowait=True)
    assert len(outcomes) == 1
