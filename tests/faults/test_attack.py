"""Clients that never finish what they begin, and a flood, all from one address, among others that work."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from tests.faults.size import LONG
from tests.faults.stage import resident
from tests.faults.test_recovery import Writer
from tests.support.client import Client, client
from tests.support.processes import ROOT, Relay, environment, relay
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

SLOW = 1000 if LONG else 300
FLOODS = 20 if LONG else 5
GOOD = 50
#: Each good client asks so often, and so many events come in batches of ten meanwhile.
ASKED = 200 if LONG else 40
EVENTS = 2000 if LONG else 400
#: Commands a second from one address: the good ones have a thousand, and a flood comes to more on a slow machine too.
COMMANDS = 20_000 if LONG else 5000
#: Seconds: whoever is slow has so long …
PATIENCE = 2
#: … each good one is answered within this time, and most of them within that, or twice what it took without the attack.
ANSWERED = 3.0
MEMORY = 100 << 20
#: Beside other tests the processors are not the relay's: there it is only seen that nobody stands still.
FLOOR = 0.05 if LONG else 2.0


async def work(good: list[Client], writer: Writer) -> list[float]:
    """Let everybody ask, and hear of events; returns how long the answers took, in seconds, in order of length."""
    delays: list[float] = []

    async def ask(one: Client) -> None:
        for _ in range(ASKED):
            start = anyio.current_time()
            assert "ping" in await one.ask(ANSWERED, ping={})
            delays.append(anyio.current_time() - start)
            await anyio.sleep(0.05)  # a client that does something else, too

    heard = len(good[0].publications()) + EVENTS
    async with anyio.create_task_group() as group:
        for one in good:
            group.start_soon(ask, one)
        for _ in range(EVENTS // 10):
            await anyio.to_thread.run_sync(writer.append, 10)
    for one in good:
        await one.until(partial(has, one, heard), f"{heard} events")
    return sorted(delays)


def has(one: Client, count: int) -> bool:
    return len(one.publications()) == count


async def reached(serving: Relay, limits: set[str]) -> bool:
    return limits <= await anyio.to_thread.run_sync(limits_reached, serving)


def limits_reached(serving: Relay) -> set[str]:
    with urllib.request.urlopen(f"{serving.url}/metrics", timeout=30) as response:
        told = re.findall(r'watcher_limits_reached_total{limit="(\w+)"} (\S+)', response.read().decode())
    return {limit for limit, count in told if float(count)}


@asynccontextmanager
async def joined(serving: Relay) -> AsyncIterator[list[Client]]:
    """The good clients, each subscribed to everything."""
    good: list[Client] = []

    async def join() -> None:
        async with client(serving.ws_url) as one:
            await one.subscribe()
            good.append(one)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        for _ in range(GOOD):
            group.start_soon(join)
        await eventually(lambda: len(good) == GOOD, what="the good clients")
        yield good
        group.cancel_scope.cancel()


@asynccontextmanager
async def attacked(serving: Relay) -> AsyncIterator[dict[str, int]]:
    """The attack, at its height; what became of it is there at the end."""
    told: dict[str, int] = {}
    expected = {"header_timeout", "max_commands_per_address"}
    # They come from elsewhere, and take no processor of those who are attacked, but for what makes these do something.
    command = ["nice", sys.executable, "-m", "tests.faults.attackers"]
    command += [serving.url.rpartition(":")[2], str(SLOW), str(FLOODS)]
    async with await anyio.open_process(command, env=environment(), cwd=ROOT, stderr=None) as attack:
        await eventually(partial(reached, serving, expected), timeout=60, what="the attack to be at its height")
        yield told
        assert attack.stdin is not None
        assert attack.stdout is not None
        await attack.stdin.aclose()
        told |= json.loads(await attack.stdout.receive())


@pytest.mark.slow
async def test_who_is_slow_and_who_floods_cost_only_themselves(valkey: Valkey) -> None:
    env = {"WATCHER_REDIS_URL": valkey.url(), "WATCHER_HEADER_TIMEOUT": str(PATIENCE)}
    env["WATCHER_CONNECT_TIMEOUT"] = str(PATIENCE)
    env["WATCHER_MAX_COMMANDS_PER_ADDRESS"] = str(COMMANDS)
    with valkey.client() as redis, relay(None, env=env) as serving:
        writer = Writer(redis)
        async with joined(serving) as good:
            before = await work(good, writer)
            memory = resident(serving.pid)
            async with attacked(serving) as told:
                during = await work(good, writer)
                assert resident(serving.pid) - memory < MEMORY
            p99 = [delays[int(len(delays) * 0.99)] for delays in (before, during)]
            print(f"{told}, p99 {p99[0] * 1000:.1f} and {p99[1] * 1000:.1f} ms, most {during[-1] * 1000:.0f} ms")  # noqa: T201 - pytest shows it
            assert told["attempts"] > SLOW + FLOODS, "who is thrown out comes back"
            assert told["dropped"] >= SLOW / 2
            assert [one.closed for one in good] == [None] * GOOD
            offsets = list(range(1, 2 * EVENTS + 1))
            assert all([offset for offset, _ in one.publications()] == offsets for one in good)
            assert p99[1] < max(2 * p99[0], FLOOR)
        assert "Traceback" not in serving.stderr
