"""Coming back after a long time, and coming back all at once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import anyio
import pytest
from centrifuge import Client, PublicationContext, SubscriptionEventHandler
from redis import Redis

from tests.faults.size import LONG
from tests.faults.storm import SERVED
from tests.support.client import client
from tests.support.events import event, record
from tests.support.processes import Program, Relay, free_port, relay
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.journal.layout import Journal, batches
from watcher.journal.scripts import APPEND

pytestmark = pytest.mark.anyio

#: What a client has missed, and how many come back at once.
MISSED = 50_000
STORM = 5000 if LONG else 500
#: Whoever stayed is answered at least so often meanwhile: serving the storm takes some seconds, or half of one.
ANSWERED = 1000 if LONG else 100


@pytest.fixture
def env(valkey: Valkey) -> dict[str, str]:
    return {"WATCHER_REDIS_URL": valkey.url(), "WATCHER_MAX_CONNECTIONS_PER_ADDRESS": "10000"}


class Writer:
    """Appends to the journal what workers would."""

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(APPEND)
        self._number = 0

    def append(self, count: int) -> None:
        records = [
            record(event(f"t{index}", "SUCCESS", name="tasks.add", argsrepr="x" * 150)) for index in range(count)
        ]
        for batch in batches([each._replace(id=f"{self._number}-{each.id}") for each in records]):
            self._number += 1
            keys, arguments = Journal().append("w", self._number, batch)
            self._script(keys=keys, args=arguments)


class Counter(SubscriptionEventHandler):
    def __init__(self) -> None:
        self.offsets: list[int] = []

    async def on_publication(self, ctx: PublicationContext) -> None:
        self.offsets.append(ctx.pub.offset)


@asynccontextmanager
async def following(serving: Relay) -> AsyncIterator[Counter]:
    """The official SDK with its own time-out of 5 s, subscribed to everything."""
    sdk, counter = Client(serving.ws_url), Counter()
    await sdk.connect()
    subscription = sdk.new_subscription("tasks", counter, recoverable=True)
    await subscription.subscribe()
    await subscription.ready()
    try:
        yield counter
    finally:
        await sdk.disconnect()


async def test_fifty_thousand_missed_events_are_recovered_by_an_sdk(valkey: Valkey, env: dict[str, str]) -> None:
    port = free_port()
    with valkey.client() as redis, relay(None, port=port, env=env) as first:
        writer = Writer(redis)
        async with following(first) as counter:
            writer.append(1)
            await eventually(lambda: counter.offsets == [1], what="the first event")
            first.kill()
            writer.append(MISSED)
            with relay(None, port=port, env=env):
                await eventually(
                    lambda: len(counter.offsets) == MISSED + 1, timeout=60, what=f"{MISSED} missed events at the SDK"
                )
                writer.append(1)
                await eventually(lambda: len(counter.offsets) == MISSED + 2, what="the event after them")
        assert counter.offsets == list(range(1, MISSED + 3))


async def test_reconnect_storm_does_not_starve_a_connected_client(valkey: Valkey, env: dict[str, str]) -> None:
    with valkey.client() as redis, relay(None, env=env) as serving:
        Writer(redis).append(2000)
        async with client(serving.ws_url) as stayed:
            position = await stayed.subscribe("tasks")
            arguments = [serving.ws_url, position["epoch"], "1900", "100", str(STORM)]
            storm = Program([sys.executable, "-m", "tests.faults.storm", *arguments])
            with closing(storm), anyio.fail_after(60):
                answered = 0
                while SERVED not in storm.stdout:
                    assert storm.process.poll() is None, storm.output
                    # Whoever stayed asks and is answered in between.
                    await stayed.rpc("get", id="nobody")
                    answered += 1
            assert answered > ANSWERED, f"whoever stayed was answered {answered} times"
