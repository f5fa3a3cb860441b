"""What waits survives what happens to the connection."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as ws_serve
from websockets.exceptions import ConnectionClosedError

import watcher
from tests.client.lossy import lossy
from tests.support.events import event
from tests.support.processes import Relay, environment, free_port, relay, worker
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from tests.support.ways import by_the_end
from watcher.client import EventsLost, Task
from watcher.journal.layout import Journal
from watcher.relay.submit.announcer import Announcer

pytestmark = pytest.mark.anyio

WAITERS = 200
#: That of a worker which starts once all wait.
QUEUE = "pool-recovery"


@asynccontextmanager
async def appender(server: Valkey) -> AsyncIterator[Announcer]:
    redis = Redis.from_url(server.url(14))
    try:
        yield Announcer(redis, Journal("watcher", 14))
    finally:
        await redis.aclose()


async def test_relay_is_killed_under_200_waits(env: dict[str, str], running: Relay) -> None:
    port = free_port()
    tag = f"killed-{time.time_ns()}"
    results: dict[int, int] = {}
    ways: list[list[str]] = []

    async def wait(number: int, task: Task) -> None:
        results[number] = await task.result(timeout=60)

    async def look(task: Task) -> None:
        ways.append([each.state async for each in task])

    with relay("tasks", port=port, env=env) as first:
        async with watcher.connect(first.url) as client:
            watch = client.watch(f"tag:{tag}")
            waiting = client.options(queue=QUEUE, tags=[tag])
            async with anyio.create_task_group() as group:
                for number in range(WAITERS):
                    task = await waiting.submit("tasks.add", number, 1)
                    group.start_soon(wait, number, task)
                    if number % 20 == 0:
                        group.start_soon(look, task)
                await eventually(lambda: len(client.channels) == WAITERS + 1, what="all to wait")
                await anyio.to_thread.run_sync(first.kill)
                with anyio.fail_after(60):
                    with (
                        relay("tasks", port=port, env=env),
                        # One process tells of each state, and so in order.
                        worker("tasks", "-n", QUEUE, "-Q", QUEUE, pool="threads", env=env),
                    ):
                        late = await client.submit("tasks.add", 1000, 1)
                        assert await late.result() == 1001
                        async with watch:
                            ended = 0
                            while ended < WAITERS:
                                ended += (await anext(watch)).ends
                        await eventually(lambda: len(results) == WAITERS, timeout=30, what="all results")
    assert results == {number: number + 1 for number in range(WAITERS)}
    assert [sorted(way) for way in ways] == [["PENDING", "RECEIVED", "STARTED", "SUCCESS"]] * (WAITERS // 20)


async def test_submit_with_a_lost_reply_is_retried_without_a_duplicate(running: Relay) -> None:
    tag = f"lost-{time.time_ns()}"
    async with lossy(running.url) as proxy, watcher.connect(proxy.url) as client, watcher.connect(running.url) as other:
        watch = other.watch(f"tag:{tag}")
        proxy.deaf = True
        async with anyio.create_task_group() as group:

            async def submit() -> None:
                assert await (await client.options(tags=[tag]).submit("tasks.add", 3, 4)).result(timeout=20) == 7

            group.start_soon(submit)
            assert (await anext(watch)).state == "PENDING"
            proxy.deaf = False
            proxy.cut()
        # Whatever came twice would come before this one, which is sent to the same worker later.
        last = await other.options(tags=[tag]).submit("tasks.add", 0, 0)
        states: list[str] = []
        async with watch:
            async for each in watch:
                if each.id == last.id and each.ends:
                    break
                states += [each.state] if each.id != last.id else []
        assert by_the_end(states) == ["STARTED", "SUCCESS"]


async def test_a_silent_relay_is_left(running: Relay) -> None:
    served = 0

    async def serve(socket: ServerConnection) -> None:
        nonlocal served
        served += 1
        first = served == 1
        with suppress(ConnectionClosedError):
            async for frame in socket:
                for line in map(json.loads, str(frame).split("\n")):
                    reply: dict[str, Any]
                    if "connect" in line:
                        reply = {"connect": {"client": "x", "ping": 1, "pong": True}}
                    elif first:
                        continue
                    else:
                        reply = {"rpc": {"data": {"task": None}}}
                    await socket.send(json.dumps({"id": line["id"], **reply}))

    async with ws_serve(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with watcher.connect(f"ws://127.0.0.1:{port}") as client:
            with anyio.fail_after(30):
                assert await client.get("nobody") is None
    assert served == 2


async def test_a_slow_reader_loses_nothing_and_keeps_little(running: Relay, server: Valkey) -> None:
    tag, count = f"slow-{time.time_ns()}", 12_000
    async with watcher.connect(running.url) as client, appender(server) as journal:
        watch = client.watch(f"tag:{tag}")
        await client.get("nobody")  # the subscription was made before
        for start in range(0, count, 500):
            some = range(start, start + 500)
            await journal.append([event(f"slow-{number}", "RECEIVED", tags=(tag,)) for number in some])
        await client.get("nobody")
        feed = watch._feed
        await eventually(lambda: feed.full, what="the reader's buffer to be full")
        assert len(feed.items) <= 4096
        seen: list[str] = []
        async with watch:
            while len(seen) < count:
                with anyio.fail_after(30):
                    seen.append((await anext(watch)).id)
        assert seen == [f"slow-{number}" for number in range(count)]


async def test_the_last_event_of_a_task_is_the_one_that_ended_it(running: Relay, server: Valkey) -> None:
    """Its worker's processes tell independently, so that it may have ended before it is told that it was received."""
    identity = f"told-late-{time.time_ns()}"
    async with watcher.connect(running.url) as client, appender(server) as journal:
        await journal.append(
            [
                event(identity, "STARTED", timestamp=2),
                event(identity, "SUCCESS", timestamp=3, result=msgspec.Raw(b"7")),
                event(identity, "RECEIVED", timestamp=1),
            ]
        )
        told = [each.state async for each in client.task(identity)]
        assert told == ["STARTED", "SUCCESS"]
        assert [each.state async for each in client.watch(f"task:{identity}")] == told
        ended = await anyio.run_process(
            [sys.executable, "-m", "watcher", "watch", identity, "--json"],
            env=environment({"WATCHER_URL": running.url}),
        )
        assert json.loads(ended.stdout.splitlines()[-1])["data"]["result"] == 7


async def test_a_gap_is_told(env: dict[str, str], server: Valkey) -> None:
    port = free_port()
    settings = {**env, "WATCHER_HISTORY": "1000", "WATCHER_NAMESPACE": "gaps"}
    redis = Redis.from_url(server.url(14))
    journal = Announcer(redis, Journal("gaps", 14, 1000, 1 << 20))
    told: list[EventsLost] = []
    with relay("tasks", port=port, env=settings) as first:
        async with watcher.connect(first.url) as client:
            strict, lenient = client.watch("tag:gap"), client.watch("tag:gap", on_gap=told.append)
            await client.get("nobody")  # its answer comes after those to the subscriptions
            await journal.append([event("gap-1", "RECEIVED", tags=("gap",))])
            assert [(await anext(watch)).id for watch in (strict, lenient)] == ["gap-1", "gap-1"]
            first.kill()
            for start in range(0, 4000, 400):
                some = range(start, start + 400)
                await journal.append([event(f"x-{number}", "SUCCESS", tags=("gap",)) for number in some])
            await journal.append([event("gap-2", "RECEIVED", tags=("gap",))])
            with relay("tasks", port=port, env=settings):
                with anyio.fail_after(30):
                    with pytest.raises(EventsLost, match="tag:gap"):
                        await anext(strict)
                    while (await anext(lenient)).id != "gap-2":
                        pass
                assert [lost.channel for lost in told] == ["tag:gap"]
    await redis.aclose()


def test_sync_waits_survive_a_restart(env: dict[str, str], running: Relay) -> None:
    port = free_port()
    results: list[int] = []
    with relay("tasks", port=port, env=env) as first, watcher.connect_sync(first.url) as client:
        tasks = [client.options(countdown=2).submit("tasks.add", number, 1) for number in range(20)]
        threads = [threading.Thread(target=lambda task=task: results.append(task.result(40))) for task in tasks]
        for thread in threads:
            thread.start()
        first.kill()
        with relay("tasks", port=port, env=env):
            for thread in threads:
                thread.join(40)
    assert sorted(results) == list(range(1, 21))
