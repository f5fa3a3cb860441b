"""`watcher.results`: what it takes for 10,000 waits, and what becomes of them when Redis goes away."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from celery import Celery

import watcher
from tests.support.processes import free_port
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import eventually
from watcher.direct import RedisRefused, Results

pytestmark = pytest.mark.anyio

MANY = 10_000
PREFIX = "celery-task-meta-"


@pytest.fixture
def server() -> Iterator[Valkey]:
    with valkey_server() as running:
        yield running


def store_many(server: Valkey, numbers: range) -> None:
    """As Celery's backend does: each result, and that it is there; not one round trip for each."""
    with server.client(2) as redis:
        for start in range(numbers.start, numbers.stop, 500):
            with redis.pipeline(transaction=True) as pipeline:
                for number in range(start, min(start + 500, numbers.stop)):
                    key = f"{PREFIX}task-{number}"
                    meta = f'{{"status": "SUCCESS", "result": {number}, "task_id": "task-{number}"}}'
                    pipeline.set(key, meta)
                    pipeline.publish(key, meta)
                pipeline.execute()


def connections(server: Valkey) -> Counter[str]:
    """What other clients of the server there are, and how many channels they subscribe to."""
    with server.client() as redis:
        me = redis.client_id()
        others: list[Any] = [client for client in redis.client_list() if int(client["id"]) != me]
    return Counter(
        subscribers=sum(int(client["sub"]) > 0 for client in others),
        lookers=sum(int(client["sub"]) == 0 for client in others),
        subscriptions=sum(int(client["sub"]) for client in others),
    )


def memory() -> int:
    """What this process has of the machine's memory, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def test_ten_thousand_waits_at_once(server: Valkey, capsys: pytest.CaptureFixture[str]) -> None:
    app = Celery("program", broker=server.url(1), backend=server.url(2), set_as_current=False)
    async with watcher.results(app) as results:
        await eventually(lambda: connections(server)["subscribers"], what="the subscription")
        before, tasks_before, memory_before = connections(server), len(asyncio.all_tasks()), memory()
        assert before == {"subscribers": 1, "lookers": 0, "subscriptions": 1}  # of the journal's channel

        store_many(server, range(100))  # some are there before
        waits = [asyncio.create_task(results.wait(f"task-{number}", timeout=60)) for number in range(MANY)]
        waiting = MANY - 100
        # Those of the test itself: a wait needs none of its own.
        await eventually(lambda: len(asyncio.all_tasks()) - tasks_before == waiting, timeout=60, what="the tasks to be")
        await eventually(lambda: connections(server)["subscriptions"] == waiting + 1, timeout=60, what="subscriptions")
        during = connections(server)
        assert (during["subscribers"], during["lookers"]) == (1, 1)
        taken = memory() - memory_before
        assert taken < 15 * MANY  # KiB

        await anyio.to_thread.run_sync(store_many, server, range(100, MANY))
        assert await asyncio.gather(*waits) == list(range(MANY))
        await eventually(
            lambda: connections(server)["subscriptions"] == 1, timeout=60, what="no subscription to be left"
        )
        after = connections(server)
        assert (after["subscribers"], after["lookers"]) == (1, 1)
        assert len(asyncio.all_tasks()) == tasks_before
        assert not results._tasks._interest  # nothing is remembered of them
        waits.clear()
        gc.collect()
        told = f"{taken / MANY:.1f} KiB each with their asyncio tasks; {memory_before} KiB before, "
        told += f"{memory_before + taken} during, {memory()} after; connections {before}, {during}, {after}"
        with capsys.disabled():
            print(f"\n{MANY} waits: {told}")  # noqa: T201 - a figure that a passing test tells, too
    await eventually(lambda: not connections(server)["subscribers"], what="no connection to be left")
    assert not connections(server)["lookers"]


@pytest.mark.slow
async def test_ten_thousand_waits_leave_no_object_behind(server: Valkey) -> None:
    """Counted, not weighed: an allocator keeps memory, so that a leak of an object a wait could hide in it."""
    async with watcher.results(server.url(2)) as results:
        await anyio.to_thread.run_sync(store_many, server, range(MANY))
        await wait_for_all(results)  # what is made once is made now
        gc.collect()
        objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
        await wait_for_all(results)
        await eventually(lambda: connections(server)["subscriptions"] == 1, timeout=60, what="no subscription")
        gc.collect()
        more = len(gc.get_objects()) - objects, sys.getallocatedblocks() - blocks
        assert more[0] < MANY // 100, more
        assert more[1] < MANY // 10, more
        told = f"{more[0]} objects, {more[1]} blocks of memory more than before"
        print(f"\n{MANY} waits that are over: {told}")  # noqa: T201 - a figure, shown by -s


async def wait_for_all(results: Results) -> None:
    """All of them at once."""
    waits = [asyncio.create_task(results.wait(f"task-{number}", timeout=60)) for number in range(MANY)]
    assert await asyncio.gather(*waits) == list(range(MANY))


async def test_ten_thousand_cancelled_waits_leave_nothing(server: Valkey) -> None:
    async with watcher.results(server.url(2)) as results:
        async with anyio.create_task_group() as group:
            for number in range(MANY):
                group.start_soon(results.wait, f"task-{number}")
            await eventually(lambda: connections(server)["subscriptions"] > MANY // 2, timeout=60, what="subscriptions")
            group.cancel_scope.cancel()
        await eventually(
            lambda: connections(server)["subscriptions"] == 1, timeout=60, what="no subscription to be left"
        )
        assert not results._tasks._interest
        store_many(server, range(1))
        assert await results.wait("task-0", timeout=30) == 0


async def listening(server: Valkey, results: Results, number: int) -> asyncio.Task[Any]:
    """A wait that has subscribed, and has looked."""
    before = looks(server)
    waiting = asyncio.create_task(results.wait(f"task-{number}", timeout=30))
    await eventually(lambda: looks(server) > before, what="the look, which follows on the subscription")
    return waiting


def looks(server: Valkey) -> int:
    """How often results were looked up so far."""
    with server.client() as redis:
        stats: Any = redis.info("commandstats")
        return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])


async def test_what_was_stored_while_nobody_listened_is_found(server: Valkey) -> None:
    async with watcher.results(server.url(2)) as results:
        waiting = await listening(server, results, 7)
        with server.client(2) as redis, redis.pipeline(transaction=True) as pipeline:
            pipeline.set(f"{PREFIX}task-7", '{"status": "SUCCESS", "result": 7}')  # and not published
            pipeline.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            pipeline.execute()
        assert await waiting == 7


async def test_a_restart_of_redis(tmp_path: Path) -> None:
    port = free_port()
    with valkey_server(port=port, data=tmp_path) as server:
        async with watcher.results(server.url(2)) as results:
            waiting = [await listening(server, results, number) for number in range(20)]
            server.kill()
            with pytest.raises(TimeoutError):
                await results.wait("nobody", timeout=0.1)
            with valkey_server(port=port, data=tmp_path) as again:
                await anyio.to_thread.run_sync(store_many, again, range(20))
                assert await asyncio.gather(*waiting) == list(range(20))
                store_many(again, range(20, 21))
                assert await results.wait("task-20", timeout=10) == 20


async def test_a_freeze_of_redis(server: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "watcher.direct")
    async with watcher.results(server.url(2)) as results:
        waiting = await listening(server, results, 1)
        with server.frozen():
            late = asyncio.create_task(results.wait("task-2", timeout=30))
            with pytest.raises(TimeoutError):
                await results.wait("task-3", timeout=0.1)
            await eventually(lambda: "broke" in caplog.text, what="the silence to be noticed")
        store_many(server, range(1, 3))
        assert [await waiting, await late] == [1, 2]


async def test_a_redis_that_refuses_is_told_of(server: Valkey) -> None:
    async with watcher.results(server.url(2)) as results:
        waiting = await listening(server, results, 1)
        with server.client() as redis:
            redis.execute_command("ACL", "SETUSER", "default", "resetkeys", "~nothing")
            redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            with pytest.raises(RedisRefused, match=r"(?i)permission"):
                await waiting
            redis.execute_command("ACL", "SETUSER", "default", "resetchannels")
            redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            with pytest.raises(RedisRefused, match=r"(?i)permission"):
                await results.wait("task-2", timeout=10)
            redis.execute_command("ACL", "SETUSER", "default", "allkeys", "allchannels")
        store_many(server, range(3, 4))
        assert await results.wait("task-3", timeout=10) == 3
