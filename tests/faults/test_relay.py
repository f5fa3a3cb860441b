"""Relays that die, and relays that are replaced."""

from __future__ import annotations

import pytest
from anyio.to_thread import run_sync

from tests.faults.size import Size, sized
from tests.faults.stage import RELAYS, Stage, staged
from tests.faults.verdict import nothing_lost
from tests.support.valkey import valkey_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]


async def replace(stage: Stage, *, kill: bool) -> None:
    """End one of the relays, and start another in its place."""
    number = stage.dice.randrange(RELAYS)
    running = stage.relays[number]
    if kill:
        running.kill()
    else:
        assert await run_sync(running.stop) == 0, running.output
    await stage.close(running)
    await stage.start_relay(number)


@sized(Size(times=2), Size(tasks=2000, seconds=60, times=20))
async def test_a_killed_relay_costs_nobody_an_event(size: Size) -> None:
    with valkey_server() as server:
        async with staged("killed relay", size, server) as stage:
            await stage.under(lambda: replace(stage, kill=True))
            await nothing_lost(stage)


@sized(Size(times=2), Size(tasks=2000, seconds=60, times=20))
async def test_a_drained_relay_is_left_without_an_error(size: Size) -> None:
    with valkey_server() as server:
        async with staged("drained relay", size, server) as stage:
            await stage.under(lambda: replace(stage, kill=False))
            await nothing_lost(stage)
            closings = {code for watcher in stage.watchers for code in watcher.closings}
            assert closings == {3001}, "clients are asked to come back, never dropped"
