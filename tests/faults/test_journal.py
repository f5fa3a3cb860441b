"""A journal that is lost, and one that is rewound."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from tests.faults.proxy import Proxy
from tests.faults.size import Size, sized
from tests.faults.stage import Stage, staged
from tests.faults.verdict import nothing_lost
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually
from watcher.journal.layout import Journal

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

BEHIND = 50


def everyone_was_told(stage: Stage, times: int) -> None:
    """Each watcher has come to know each new epoch by a refused recovery, and all know the same newest one."""
    assert len({watcher.epoch for watcher in stage.watchers}) == 1
    for watcher in stage.watchers:
        assert watcher.unrecovered >= times
        assert len(set(watcher.epochs)) == len(watcher.epochs) == times + 1


@sized(Size(times=1), Size(tasks=2000, seconds=40, times=6))
async def test_a_deleted_journal_is_a_new_epoch(size: Size) -> None:
    with valkey_server() as server:
        async with staged("deleted journal", size, server) as stage:

            async def delete() -> None:
                with server.client(14) as redis:
                    old = stage.watchers[0].epoch
                    redis.delete(*redis.keys("{watcher}:*"))
                what = "everyone to be told"
                await eventually(lambda: all(each.epoch != old for each in stage.watchers), timeout=20, what=what)

            await stage.under(delete)
            await nothing_lost(stage, new_epochs=True)
            everyone_was_told(stage, size.times)


@sized(Size(tasks=300, seconds=5, times=1), Size(tasks=2000, seconds=60, times=4))
async def test_a_promoted_replica_that_lagged_is_a_new_epoch(size: Size) -> None:
    stream = Journal().stream

    def newest(redis: Any) -> int:
        return int(redis.xinfo_stream(stream)["last-generated-id"].partition(b"-")[2])

    with valkey_server() as broker, ExitStack() as servers:
        primary, replica = (servers.enter_context(valkey_server()) for _ in range(2))
        for server in (primary, replica):
            with server.client() as redis:
                redis.config_set("repl-diskless-sync-delay", 0)
        async with (
            Proxy(primary.host, primary.port).running() as proxy,
            staged("promoted replica", size, broker, journal_url=proxy.url()) as stage,
        ):
            roles = [primary, replica]

            async def fail_over() -> None:
                old, new = roles
                with old.client() as leading, new.client() as following:
                    following.replicaof(old.host, old.port)
                    await eventually(
                        lambda: (
                            following.info("replication").get("master_link_status") == "up" and following.xlen(stream)
                        ),
                        what="the replica to follow",
                    )
                    following.replicaof("NO", "ONE")  # from here on it lags
                    held = newest(following)
                    await eventually(lambda: newest(leading) >= held + BEHIND, what=f"{BEHIND} events that it lacks")
                epoch = stage.watchers[0].epoch
                proxy.target = (new.host, new.port)
                proxy.cut()
                what = "everyone to be told"
                await eventually(lambda: all(each.epoch != epoch for each in stage.watchers), timeout=20, what=what)
                roles.reverse()

            await stage.under(fail_over, until=0.5)
            await nothing_lost(stage, new_epochs=True)
            everyone_was_told(stage, size.times)
