"""What networks do between a relay and Redis."""

from __future__ import annotations

import itertools

import anyio
import pytest

from tests.faults.proxy import Manner, Proxy
from tests.faults.size import LONG, Size, sized
from tests.faults.stage import staged
from tests.faults.verdict import nothing_lost
from tests.support.valkey import valkey_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]


#: Cut (and then all is well again), half-open, 200 ms late, a byte at a time; and for how long, in seconds.
MANNERS: dict[Manner, float] = {"pass": 0, "silent": 8 if LONG else 1.5, "slow": 1, "crumbs": 1}


@pytest.mark.slow
@pytest.mark.parametrize("manners", [*([each] for each in MANNERS if LONG), [*MANNERS]], ids="-".join)
@sized(Size(seconds=5, times=4), Size(tasks=2000, seconds=30, times=8))
async def test_nothing_is_lost_on_the_way_to_a_relay(size: Size, manners: list[Manner]) -> None:
    with valkey_server() as server:
        async with Proxy(server.host, server.port).running() as proxy:
            relay_env = {"WATCHER_REDIS_URL": proxy.url(14), "CELERY_RESULT_BACKEND": proxy.url(14)}
            async with staged(f"proxy {manners}", size, server, relay_env=relay_env) as stage:
                rounds = itertools.cycle(manners)

                async def disturb() -> None:
                    manner = next(rounds)
                    if manner == "pass":
                        proxy.cut()
                    proxy.change(manner)
                    await anyio.sleep(MANNERS[manner])
                    proxy.change("pass")

                await stage.under(disturb)
                await nothing_lost(stage)
