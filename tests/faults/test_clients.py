"""Clients that don't read, and clients that read too little, among others that do."""

from __future__ import annotations

import json
import sys

import anyio
import pytest

from tests.faults.size import LONG, Size, sized
from tests.faults.stage import Stage, resident, staged
from tests.faults.verdict import ended, nothing_lost, told
from tests.support.processes import ROOT, environment
from tests.support.valkey import valkey_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

#: So many of each kind.
SLOW = 200 if LONG else 20
#: Bytes of a result. They fill what the operating system buffers for a connection, and then the relay's own bound.
BLOB = 15_000
#: The relay's bound of what it keeps for one client, in bytes (contract), and what its history may hold.
CLIENT = 1024 * 1024
HISTORY = 8 * 1024 * 1024
#: A p99 below this, in seconds, is the noise of the machine; beside other tests that is much.
FLOOR = 0.04 if LONG else 0.5


def p99(stage: Stage) -> float:
    """Of all delays since the last call, in seconds."""
    delays = sorted(delay for watcher in stage.watchers for delay in watcher.delays)
    for watcher in stage.watchers:
        watcher.delays.clear()
    return delays[int(len(delays) * 0.99)]


async def flow(stage: Stage) -> float:
    """Send tasks with large results, wait until they are told, and return the watchers' p99."""
    identities = [stage.order("blob", BLOB) for _ in range(stage.size.tasks)]
    await stage.send(stage.size.seconds)
    await told(stage, await ended(stage, identities))
    return p99(stage)


@sized(Size(tasks=300, seconds=2), Size(tasks=2000, seconds=25))
async def test_slow_clients_cost_only_themselves(size: Size) -> None:
    with valkey_server() as server:
        bound = {"WATCHER_HISTORY_BYTES": str(HISTORY)}
        async with staged("slow clients", size, server, relay_env=bound) as stage:
            before = await flow(stage)
            memory = [resident(running.pid) for running in stage.relays]
            urls = [running.ws_url for running in stage.relays]
            command = [sys.executable, "-m", "tests.faults.sluggards", str(SLOW), *urls]
            async with await anyio.open_process(command, env=environment(), cwd=ROOT, stderr=None) as slow:
                after = await flow(stage)
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
