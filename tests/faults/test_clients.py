"""Clients that don't read, and clients that read too little, among others that do."""

from __future__ import annotations

import json
import re
import sys
import urllib.request

import anyio
import pytest

from tests.faults.size import LONG, Size, sized
from tests.faults.stage import Stage, resident, staged
from tests.faults.verdict import ended, nothing_lost, told
from tests.support.processes import ROOT, Relay, environment
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

#: So many of each kind.
SLOW = 200 if LONG else 20
#: Bytes of a result. They fill what the operating system buffers for a connection, and then the relay's own bound.
BLOB = 15_000
#: With so many results there is no room left in any of them.
FILL = 100
#: The relay's bound of what it keeps for one client, in bytes (contract), and what its history may hold.
CLIENT = 1024 * 1024
HISTORY = 8 * 1024 * 1024
#: A p99 below this, in seconds, is the noise of the machine; beside other tests that is much.
FLOOR = 0.04 if LONG else 1.0


def p99(stage: Stage) -> float:
    """Of all delays since the last call, in seconds."""
    delays = sorted(delay for watcher in stage.watchers for delay in watcher.delays)
    for watcher in stage.watchers:
        watcher.delays.clear()
    return delays[int(len(delays) * 0.99)]


async def flow(stage: Stage, tasks: int, seconds: float) -> float:
    """Send tasks with large results, wait until they are told, and return the watchers' p99."""
    identities = [stage.order("blob", BLOB) for _ in range(tasks)]
    await stage.send(seconds)
    await told(stage, await ended(stage, identities))
    return p99(stage)


async def slow_ones(stage: Stage) -> bool:
    """Whether all slow clients are behind, and known to be."""
    return sum([await anyio.to_thread.run_sync(_behind, running) for running in stage.relays]) >= 2 * SLOW


def _behind(running: Relay) -> int:
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=30) as response:
        (count,) = re.findall(r"^watcher_websocket_clients_behind (\S+)", response.read().decode(), re.MULTILINE)
    return int(float(count))


@sized(Size(tasks=300, seconds=2), Size(tasks=2000, seconds=25))
async def test_slow_clients_cost_only_themselves(size: Size) -> None:
    """What they cost while they are slow: that many clients arrive at once costs what it would cost of any others."""
    with valkey_server() as server:
        bound = {"WATCHER_HISTORY_BYTES": str(HISTORY)}
        async with staged("slow clients", size, server, relay_env=bound) as stage:
            before = await flow(stage, size.tasks, size.seconds)
            memory = [resident(running.pid) for running in stage.relays]
            urls = [running.ws_url for running in stage.relays]
            command = [sys.executable, "-m", "tests.faults.sluggards", str(SLOW), *urls]
            async with await anyio.open_process(command, env=environment(), cwd=ROOT, stderr=None) as slow:
                await flow(stage, FILL, 1)
                await eventually(lambda: slow_ones(stage), what="all of them to be behind")
                after = await flow(stage, size.tasks, size.seconds)
                for running, was in zip(stage.relays, memory, strict=True):
                    assert resident(running.pid) - was < CLIENT * 2 * SLOW / len(stage.relays)
                assert slow.stdin is not None
                assert slow.stdout is not None
                await slow.stdin.aclose()
                told_of = json.loads(await slow.stdout.receive())
            assert told_of == {"unread": 0, "dropped": 0}, "who still reads is never dropped"
            print(f"p99 {after * 1000:.1f} ms, without slow clients {before * 1000:.1f} ms")  # noqa: T201 - shown by -s
            assert after < max(2 * before, FLOOR), f"p99 {after * 1000:.1f} ms, without them {before * 1000:.1f} ms"
            await nothing_lost(stage)
