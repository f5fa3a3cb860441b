"""The feed, on a real server: in order and without a gap, whatever happens to Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.relay.feeding import Running, feeding
from tests.support.events import event, life, line, record
from tests.support.processes import free_port
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import eventually
from watcher.core.event import Event
from watcher.journal.layout import Journal
from watcher.journal.scripts import APPEND
from watcher.relay.stream.feed import Feed
from watcher.relay.stream.positions import Positions

pytestmark = pytest.mark.anyio


async def test_what_was_there_comes_as_a_whole_and_then_each_batch(valkey: Valkey) -> None:
    async with feeding(valkey) as before:
        await before.append(*life("a"), event("open"))
        await before.has(5)
    async with feeding(valkey) as running:
        await running.ready()
        (snapshot,) = running.sink.snapshots
        assert (snapshot.first, len(snapshot.lines)) == (1, 5)
        assert not snapshot.retained, "it is among the lines"
        await before_and(running, event("b"), event("c"))
        await running.has(7)
    assert running.sink.lines[5:] == [line("b"), line("c")]


async def before_and(running: Running, *told: Event) -> None:
    running.number += 10
    await running.append(*told)


async def test_an_empty_journal_has_an_epoch_at_once(valkey: Valkey) -> None:
    async with feeding(valkey) as running:
        await running.ready()
        (snapshot,) = running.sink.snapshots
        assert snapshot.epoch
        await running.append(event("a"))
        await running.has(1)
        assert len(running.sink.snapshots) == 1, "the first event is in the epoch that was announced"
        assert await running.positions.newest() == (snapshot.epoch, 1)


async def test_what_comes_together_is_handed_on_together(valkey: Valkey) -> None:
    async with feeding(valkey) as running:
        await running.ready()
        script = running.redis.register_script(APPEND)
        await running.append(event("first"))
        async with running.redis.pipeline(transaction=False) as pipeline:
            for number in range(2, 502):
                keys, arguments = running.journal.append("w", number, [record(event(f"t{number}"))])
                await script(keys=keys, args=arguments, client=pipeline)
            await pipeline.execute()
        await running.has(501)
    assert len(running.sink.handed) < 100, "one call for what one read brought"


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])  # as in a relay
async def test_what_comes_while_the_sink_sends_is_handed_on_next(valkey: Valkey) -> None:
    """And does not wait until the little is sent that had come a moment before: that would take twice as long."""
    async with feeding(valkey) as running:
        await running.ready()
        with valkey.client() as writing:
            script = writing.register_script(APPEND)
            written: list[int] = []  # for each event, how often the sink had been called by then

            def write() -> None:
                written.append(len(running.sink.handed))
                keys, arguments = running.journal.append("w", len(written), [record(event(f"t{len(written)}"))])
                script(keys=keys, args=arguments)

            running.sink.sends = write
            while len(written) < 300:
                write()
                await checkpoint()
            running.sink.sends = None
        await running.has(len(written))
    handed = [call for call, size in enumerate(running.sink.handed) for _ in range(size)]
    late = [call - before for call, before in zip(handed, written, strict=True)]
    assert max(late) <= 1, late


async def test_a_broken_connection_loses_nothing(valkey: Valkey) -> None:
    async with feeding(valkey) as running:
        await running.ready()
        for number in range(60):
            await running.append(event(f"t{number}"))
            if number % 10 == 5:
                await running.break_connections()
        await running.has(60)
        assert [line(f"t{number}") for number in range(60)] == running.sink.lines
        assert len(running.sink.snapshots) == 1


async def test_a_server_that_was_restarted_is_caught_up_with(tmp_path: Path) -> None:
    port = free_port()
    with valkey_server(port=port, data=tmp_path) as server:
        async with feeding(server) as running:
            await running.append(event("a"))
            await running.has(1)
            await running.redis.config_set("appendfsync", "always")
            await running.append(event("b"))
            server.kill()
            await eventually(lambda: running.feed.trouble, what="the feed to notice that the server is gone")
            with valkey_server(port=port, data=tmp_path):
                await eventually(lambda: running.feed.trouble is None, what="the feed to be back")
                await running.append(event("c"))
                await running.has(3)
                assert len(running.sink.snapshots) == 1


async def test_a_frozen_server_is_noticed_within_five_seconds() -> None:
    with valkey_server() as server:
        async with feeding(server) as running:
            await running.ready()
            with server.frozen():
                await eventually(lambda: running.feed.trouble, timeout=5.5, what="the feed to notice the silence")
            await eventually(lambda: running.feed.trouble is None, what="the feed to be back")
            await running.append(event("a"))
            await running.has(1)
            started, frozen, *_, back = running.sink.troubles
            assert (started, back) == (None, None)
            assert frozen is not None


async def test_a_lost_journal_is_a_new_epoch(valkey: Valkey) -> None:
    async with feeding(valkey) as running:
        await running.append(event("a"))
        await running.has(1)
        await running.redis.flushall()
        await running.append(event("b"))
        await eventually(lambda: len(running.sink.snapshots) == 2, what="a second snapshot")
        await running.has(1)
        first, second = running.sink.snapshots
        assert first.epoch != second.epoch
        assert running.sink.lines == [line("b")]


async def test_a_rewound_journal_is_a_new_epoch(valkey: Valkey) -> None:
    async with feeding(valkey) as running:
        await running.append(event("a"))
        # What a replica that lagged by one event would have, were it promoted.
        lagging: Any = await running.redis.dump(running.journal.stream)
        await running.append(event("b"))
        await running.has(2)
        await running.redis.restore(running.journal.stream, 0, lagging, replace=True)
        await running.append(event("c"))
        await running.break_connections()
        await eventually(lambda: len(running.sink.snapshots) == 2, what="a second snapshot")
        first, second = running.sink.snapshots
        assert second.epoch > first.epoch
        await running.has(2)
        assert running.sink.lines == [line("a"), line("c")]


async def test_more_than_the_journal_keeps_is_a_fresh_start(valkey: Valkey) -> None:
    async with feeding(valkey, history=1000) as running:
        await running.append(event("a"))
        await running.has(1)
        script = running.redis.register_script(APPEND)
        async with running.redis.pipeline(transaction=True) as pipeline:
            _ = pipeline.client_kill_filter(_type="pubsub")  # only queued: there is nothing to wait for
            for number in range(1, 7):
                told = [record(event(f"t{number}-{index}", "SUCCESS")) for index in range(400)]
                keys, arguments = running.journal.append("x", number, told)
                await script(keys=keys, args=arguments, client=pipeline)
            await pipeline.execute()
        await eventually(lambda: len(running.sink.snapshots) == 2, what="a second snapshot")
        await running.has(1000)
        assert running.sink.snapshots[1].first == 1402


async def test_of_a_stream_that_outgrew_its_bounds_the_newest_is_taken(valkey: Valkey) -> None:
    """Somebody else writes there: the script trims what it has appended itself."""
    stream, told = Journal(history=1000).stream, line("a").decode()
    with valkey.client() as redis:
        for offset in range(1, 2501):
            redis.xadd(stream, {"e": told, "b": "x"}, id=f"7-{offset}")
    async with feeding(valkey, history=1000) as running:
        await running.has(1000)
        assert running.sink.snapshots[0].first == 1501
    most = 100 * len(told)
    async with feeding(valkey, history=1000, history_bytes=most) as running:
        await running.has(100)
        assert running.sink.snapshots[0].first == 2401


async def test_snapshot_keeps_unfinished_tasks_older_than_the_history(valkey: Valkey) -> None:
    """Whether that has left the stream, or only this relay keeps less than the stream has."""
    told = [event("a", "STARTED", 1), event("b", "PENDING", 1), event("a", "PROGRESS", 2), event("c", "PENDING", 1)]
    async with feeding(valkey, history=100) as writing:
        await writing.append(*told[:2])
        for number in range(80):
            await writing.append(*life(f"t{number}"))
        await writing.append(*told[2:])
        for number in range(10):
            await writing.append(*life(f"u{number}"))
    for history, kept in ((1000, [1, 2]), (20, [1, 2, 323, 324])):
        async with feeding(valkey, history=history) as running:
            await running.ready()
            (snapshot,) = running.sink.snapshots
            assert [offset for offset, _ in snapshot.retained] == kept
            assert [line for _, line in snapshot.retained] == [record(one).line for one in told[: len(kept)]]


async def test_what_leaves_the_stream_while_it_is_read_is_known(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The places of unfinished tasks are older than what is found there."""
    running = Running(valkey, Journal(history=20))
    async with running.redis:
        await running.append(event("a"), event("b"))
        for number in range(3):
            await running.append(*life(f"t{number}"))
        hscan_iter, told = running.redis.hscan_iter, [event("a"), event("b")]

        async def outdated(*args: Any, **options: Any) -> AsyncIterator[Any]:
            places = [place async for place in hscan_iter(*args, **options)]
            for number in range(10):
                await running.append(*life(f"u{number}"))
            await running.append(event("b", "SUCCESS", 9))
            for place in places:
                yield place

        monkeypatch.setattr(running.redis, "hscan_iter", outdated)
        journal = Journal(history=3)
        running.feed = Feed(running.redis, journal, Positions(running.redis, journal), running.sink)
        async with anyio.create_task_group() as group:
            group.start_soon(running.feed.run)
            await running.ready()
            group.cancel_scope.cancel()
        (snapshot,) = running.sink.snapshots
        assert list(snapshot.retained) == [(1, record(told[0]).line)], "and b has ended, which comes next"
        assert running.sink.lines[-1] == record(event("b", "SUCCESS", 9)).line


async def test_strange_messages_on_the_channel_are_passed_over(valkey: Valkey) -> None:
    async with feeding(valkey) as running:
        await running.ready()
        for strange in ("", "nonsense", "a b c", "1 2"):
            await running.redis.publish(running.journal.live, strange)
        await running.append(event("a"))
        await eventually(lambda: line("a") in running.sink.lines, what="the event after them")


async def test_what_is_published_of_another_journal_is_not_believed(valkey: Valkey) -> None:
    async with feeding(valkey) as running:
        await running.append(event("a"))
        await running.has(1)
        (before,) = running.sink.snapshots[-1:]
        for strange in ("9999999999999999 1", "1 1\n{}", f"{before.epoch} 18446744073709551616\n{{}}"):
            await running.redis.publish(running.journal.live, strange)
        await running.append(event("b"))
        await running.has(2)
        assert running.sink.snapshots[-1] is before, "nobody was told to start anew"


async def test_strange_entries_are_passed_over(valkey: Valkey) -> None:
    """Holes in the offsets, and unfinished tasks without a place."""
    async with feeding(valkey) as running:
        await running.append(event("a"))
        await running.has(1)
        epoch = running.sink.snapshots[-1].epoch
        for value in ("", "x", "-5 {}", "1 {}", f"1 {line('a').decode()}"):
            await running.redis.hset(running.journal.open_lines, f"0:{value}", value)
        await running.redis.xadd(running.journal.stream, {"e": "nonsense"}, id=f"{epoch}-10")
        await running.append(event("b"))
        await eventually(lambda: running.sink.lines[-1:] == [line("b")], what="the event after the hole")
    async with feeding(valkey) as fresh:
        await fresh.ready()
        (snapshot,) = fresh.sink.snapshots
        assert (snapshot.first, len(snapshot.lines), snapshot.lines[10]) == (1, 11, line("b"))
        assert not snapshot.retained
    async with feeding(valkey) as running:
        await running.redis.xadd(running.journal.stream, {"e": "far"}, id=f"{epoch}-{2**40}")
        await eventually(lambda: running.feed.trouble is None, what="the feed to be caught up")
    async with feeding(valkey) as far:
        await far.ready()
        assert (far.sink.snapshots[0].first, far.sink.snapshots[0].lines) == (2**40, [b"far"])
