"""`watcher.connect`, with a real relay and worker."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import watcher
from tests.support.processes import Relay, free_port, relay
from tests.support.waiting import eventually
from tests.support.ways import by_the_end
from watcher.client import (
    Relay as Client,
)
from watcher.client import (
    RelayClosed,
    RelayRefused,
    RelayUnreachable,
    TaskLost,
    TokenRefused,
)
from watcher.core.permissions import issue

pytestmark = pytest.mark.anyio

WAY = ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def client(running: Relay) -> AsyncIterator[Client]:
    async with watcher.connect(running.url) as connected:
        yield connected


async def test_a_result_is_awaited(client: Client) -> None:
    task = await client.submit("tasks.add", 2, 3)
    assert await task == 5
    assert await task.result(timeout=20) == 5
    assert await client.task(task.id).result(timeout=20) == 5
    assert await (await client.submit("tasks.add", x=2, y=4)) == 6


async def test_events_come_from_the_first_to_the_last(client: Client) -> None:
    task = await client.submit("tasks.count_primes", limit=3_000_000)
    events = [event async for event in task]
    # RECEIVED and STARTED are told by different processes.
    assert sorted(event.state for event in events if event.state != "PROGRESS") == sorted(WAY)
    assert (events[0].state, events[-1].state) == ("PENDING", "SUCCESS")
    assert events[-1].result == 216816
    assert any(event.meta["total"] == 3_000_000 for event in events if event.state == "PROGRESS")
    again = [(event.epoch, event.offset, event.line) async for event in task]
    assert again == [(event.epoch, event.offset, event.line) for event in events]


async def test_events_and_result_of_one_task_at_the_same_time(client: Client) -> None:
    task = await client.options(countdown=0.3).submit("tasks.add", 1, 1)
    seen: list[list[str]] = []

    async def look() -> None:
        seen.append([event.state async for event in task])

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(look)
        assert await task.result(timeout=10) == 2
    assert [sorted(states) for states in seen] == [sorted(WAY)] * 3


async def test_failure_tells_type_message_and_traceback(client: Client) -> None:
    with pytest.raises(watcher.TaskFailed) as caught:
        await (await client.submit("tasks.fail", "no luck"))
    error = caught.value
    assert (error.name, error.type, error.message) == ("tasks.fail", "RuntimeError", "no luck")
    assert error.traceback is not None
    assert "raise RuntimeError" in error.traceback


async def test_what_the_block_raises_comes_out_as_it_is(running: Relay) -> None:
    with pytest.raises(watcher.TaskFailed):
        async with watcher.connect(running.url) as client:
            await (await client.submit("tasks.fail", "x"))


async def test_cancelling_revokes_and_a_revoked_task_raises(client: Client) -> None:
    task = await client.submit("tasks.sleep", 60)
    async for event in task:
        if event.state == "STARTED":
            await task.cancel()
    with pytest.raises(watcher.TaskRevoked, match="terminated"):
        await task


async def test_time_out_leaves_the_task_and_the_client_alone(client: Client) -> None:
    task = await client.options(countdown=0.5).submit("tasks.add", 1, 2)
    with pytest.raises(TimeoutError, match=rf"^task {task.id} has not ended within 0.1 s: "):
        await task.result(timeout=0.1)
    with anyio.move_on_after(0.05) as scope:
        await task
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await task
    assert await task.result(timeout=10) == 3
    waiting = await client.options(queue="nobody-takes-it").submit("tasks.add", 1, 2)
    with pytest.raises(TimeoutError, match=r"within 1 s: it is PENDING, queue 'nobody-takes-it'$"):
        await waiting.result(timeout=1)
    await eventually(lambda: len(client.channels) == 0, what="the subscriptions to be left")


async def test_options_are_apart_from_arguments(client: Client) -> None:
    with pytest.raises(RelayRefused, match="'queue'"):
        _ = await client.submit("tasks.add", 1, queue="x")
    bound = client.options(queue="nobody", tags=["t:1"], priority=3).options(task_id=f"chosen-{time.time_ns()}")
    task = await bound.submit("tasks.add", 1, 2)
    known = await client.get(task.id)
    assert known is not None
    assert (known.data["queue"], known.data["tags"], task.id[:6]) == ("nobody", ["t:1"], "chosen")
    assert (await bound.submit("tasks.add", 1, 2)).id == task.id
    await task.revoke()


async def test_refusals_say_why(client: Client) -> None:
    for name, arguments, code, words in (
        ("tasks.add", (1,), 107, "argument 'y'"),
        ("tasks.nothing", (), 104, "tasks.nothing"),
        ("tasks.add", (1, "x" * 70_000), 107, "too large"),
    ):
        with pytest.raises(RelayRefused, match=words) as caught:
            _ = await client.submit(name, *arguments)
        assert caught.value.code == code
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value, error in ((float("nan"), ValueError), ("\ud800", ValueError), (deep, ValueError), (object(), TypeError)):
        with pytest.raises(error):
            _ = await client.submit("tasks.add", value, 1)
    with pytest.raises(RelayRefused, match="unknown channel"):
        await anext(client.watch("nonsense:x"))


async def test_a_task_that_nobody_knows_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await client.get("nobody") is None
    async with anyio.create_task_group() as group:

        async def expect_wait() -> None:
            with pytest.raises(TaskLost, match="nobody-1"):
                await client.task("nobody-1")

        async def expect_events() -> None:
            with pytest.raises(TaskLost, match="nobody-2"):
                await anext(client.watch("task:nobody-2"))

        group.start_soon(expect_wait)
        group.start_soon(expect_events)


async def test_map_gives_results_in_order_and_bounds_what_is_in_flight(client: Client) -> None:
    taken = 0

    def numbers() -> AsyncIterator[int]:
        async def each() -> AsyncIterator[int]:
            nonlocal taken
            for number in range(40):
                taken += 1
                yield number

        return each()

    given = 0
    async for result in client.map("tasks.test", numbers(), limit=5):
        assert result == given + 1
        given += 1
        assert taken - given <= 6
    assert given == 40
    assert [r async for r in client.starmap("tasks.add", [(1, 2), (3, 4)])] == [3, 7]


async def test_unordered_map_does_not_wait_for_the_slow(client: Client) -> None:
    results = [r async for r in client.map("tasks.sleep", [0.6, 0.0, 0.01], ordered=False)]
    assert sorted(results) == [0.0, 0.01, 0.6]
    assert results[-1] == 0.6


async def test_map_raises_what_a_task_or_the_source_raised(client: Client) -> None:
    with pytest.raises(watcher.TaskFailed):
        async for _ in client.map("tasks.fail", ["a", "b"]):
            pass
    kept = [r async for r in client.map("tasks.fail", ["a", "b"], return_exceptions=True)]
    assert [error.message for error in kept] == ["a", "b"]

    def source() -> AsyncIterator[int]:
        async def each() -> AsyncIterator[int]:
            yield 1
            raise LookupError("no more")

        return each()

    results = client.map("tasks.test", source())
    assert await anext(results) == 2
    with pytest.raises(LookupError, match="no more"):
        await anext(results)


async def test_a_watch_hears_what_is_submitted_after_it_was_made(client: Client) -> None:
    tag = f"watch-{time.time_ns()}"
    watch = client.watch(f"tag:{tag}", "tasks", "name:tasks.add")
    task = await client.options(tags=[tag]).submit("tasks.add", 1, 2)
    events = []
    async with watch:
        async for event in watch:
            if event.id == task.id:
                events.append(event)
                if event.ends:
                    break
    assert by_the_end(event.state for event in events) == by_the_end(WAY)
    assert len({event.offset for event in events}) == len(events)


async def test_a_watch_that_is_forgotten_is_left(client: Client) -> None:
    tag = f"forgotten-{time.time_ns()}"
    watch = client.watch(f"tag:{tag}")
    await (await client.options(tags=[tag]).submit("tasks.add", 1, 2))
    assert (await anext(watch)).state == "PENDING"
    del watch
    gc.collect()
    await (await client.options(tags=[tag]).submit("tasks.add", 1, 2))
    await eventually(lambda: len(client.channels) == 0, what="the channel to be left")


async def test_registry_lists_tasks(client: Client) -> None:
    assert "tasks.add" in [task["name"] for task in await client.registry()]


async def test_leaving_the_block_ends_what_waits(running: Relay) -> None:
    ends: list[str] = []
    async with anyio.create_task_group() as group, watcher.connect(running.url) as client:
        task = await client.options(queue="nobody").submit("tasks.add", 1, 2)

        async def wait() -> None:
            with pytest.raises(RelayClosed):
                await task
            ends.append("wait")

        async def look() -> None:
            with pytest.raises(RelayClosed):
                async for _ in client.watch("tag:nothing"):
                    pass
            ends.append("watch")

        async def map_() -> None:
            with pytest.raises(RelayClosed):
                async for _ in client.options(queue="nobody").map("tasks.test", [1, 2, 3]):
                    pass
            ends.append("map")

        group.start_soon(wait)
        group.start_soon(look)
        group.start_soon(map_)
        await eventually(lambda: len(client.channels) == 5, what="all of them to wait")
        await task.revoke()
    assert sorted(ends) == ["map", "wait", "watch"]
    with pytest.raises(RelayClosed):
        await task.result(timeout=1)


async def test_no_relay_is_an_error_and_patience_waits_for_one(env: dict[str, str]) -> None:
    port = free_port()
    with pytest.raises(RelayUnreachable, match=str(port)):
        async with watcher.connect(f"http://127.0.0.1:{port}"):
            pass
    with pytest.raises(ConnectionError):
        async with watcher.connect(f"http://127.0.0.1:{port}", patience=0.3):
            pass


async def test_where_nothing_names_a_relay_it_is_the_one_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHER_URL", raising=False)
    assert watcher.connect()._url == "ws://127.0.0.1:5556/connection/websocket"
    monkeypatch.setenv("WATCHER_URL", "https://relay.example/below")
    assert watcher.connect()._url == "wss://relay.example/below/connection/websocket"


@pytest.mark.usefixtures("running")  # its worker runs the task
async def test_tokens(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHER_TOKEN", raising=False)
    with relay("tasks", env={**env, "WATCHER_SECRET": SECRET}) as guarded:
        for token in (None, "nonsense"):
            with pytest.raises(TokenRefused):
                async with watcher.connect(guarded.url, token=token):
                    pass
        asked, ttl = 0, 60

        async def fresh() -> str:
            nonlocal asked
            asked += 1
            return issue(SECRET, ttl=ttl, submit=["tasks.*"])

        async with watcher.connect(guarded.url, token=fresh) as client:
            # The token doesn't grant watch: what submit answers with does, for this one task, until the token ends.
            assert await (await client.submit("tasks.add", 2, 2)).result(timeout=15) == 4
            with pytest.raises(RelayRefused, match="permission"):
                await anext(client.watch("tasks"))
        ttl = 2
        async with watcher.connect(guarded.url, token=fresh):
            await eventually(lambda: asked >= 3, what="the token to be renewed")
        monkeypatch.setenv("WATCHER_TOKEN", issue(SECRET, watch=["tasks"]))
        monkeypatch.setenv("WATCHER_URL", guarded.url)
        async with watcher.connect() as client:
            with pytest.raises(RelayRefused) as caught:
                _ = await client.submit("tasks.add", 2, 2)
            assert caught.value.code == 103


async def test_a_page_that_is_no_relay_is_an_error(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RelayRefused, match="HTTP 404: nope"):
            async with watcher.connect(f"http://127.0.0.1:{port}"):
                pass


async def test_a_proxy_that_drops_the_upgrade_is_what_the_error_names(running: Relay) -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        kept = [line for line in asked.split(b"\r\n") if not line.lower().startswith((b"upgrade:", b"connection:"))]
        relayed, relay_writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        relay_writer.write(b"\r\n".join([kept[0], b"Connection: close", *kept[1:]]))
        writer.write(await relayed.read())
        await writer.drain()
        relay_writer.close()
        writer.close()

    async with await asyncio.start_server(drop, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = r"HTTP 426: this is the WebSocket's address.*must be told to pass them on$"
        with pytest.raises(RelayRefused, match=said):
            async with watcher.connect(f"http://127.0.0.1:{port}"):
                pass
