"""`watcher.results`: what only the plugin tells, and the events of a task."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import celery.exceptions
import msgspec
import pytest
from celery import VERSION, Celery
from redis.asyncio import Redis

import watcher
from tests.support.apps import let_go
from tests.support.processes import worker
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import eventually
from watcher.client import TaskEvent, TaskRejected
from watcher.core.event import Event, decode, encode
from watcher.core.order import standing
from watcher.direct import Results
from watcher.direct.lookup import Lookup
from watcher.journal.layout import Journal, Record
from watcher.journal.scripts import APPEND

pytestmark = pytest.mark.anyio

_NUMBERS = itertools.count()
WAY = ["RECEIVED", "STARTED", "SUCCESS"]


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="module")
def app(server: Valkey) -> Iterator[Celery]:
    env = {"CELERY_BROKER_URL": server.url(1), "CELERY_RESULT_BACKEND": server.url(2), "INSTALL": "1"}
    with worker("tests.worker.app", env=env, concurrency=4):
        app = Celery("program", broker=server.url(1), backend=server.url(2))
        yield app
        let_go(app)


@pytest.fixture
async def results(app: Celery) -> AsyncIterator[Results]:
    async with watcher.results(app) as opened:
        yield opened


async def told(server: Valkey, *events: Event) -> None:
    """Append events as a producer's plugin or a relay does."""
    async with Redis.from_url(server.url(2)) as redis:
        writer = f"test-{events[0].id}-{events[0].timestamp}"
        keys, arguments = Journal(database=2).append(
            writer, 1, [Record(event.id, standing(event), encode(event)) for event in events]
        )
        await redis.register_script(APPEND)(keys=keys, args=arguments)


async def test_what_the_result_backend_never_hears_of_ends_too(app: Celery, results: Results) -> None:
    for _ in range(2):
        waiting = asyncio.create_task(results.wait(app.send_task("ignore").id, timeout=10))
        assert await waiting is None
        with pytest.raises(TaskRejected):
            await results.wait(app.send_task("reject").id, timeout=10)
    identity = app.send_task("add", (1, 2), ignore_result=True).id
    assert await results.wait(identity, timeout=10) == 3
    identity = app.send_task("fail", ("unstored",), ignore_result=True).id
    # Celery before 5.6.3 heeds what the task itself ignores, and not what the message says: it stores this failure.
    with pytest.raises(watcher.TaskFailed if VERSION >= (5, 6, 3) else ValueError, match="unstored"):
        await results.wait(identity, timeout=10)


async def test_an_end_that_is_only_published_is_none(app: Celery, results: Results, server: Valkey) -> None:
    """Whoever may publish on the journal's channel says that a task has ended, while it is waited for and watched."""
    identity = f"open-{next(_NUMBERS)}"
    opened = Event(id=identity, state="STARTED", timestamp=1.0, source="signal")
    end = msgspec.structs.replace(opened, state="SUCCESS", timestamp=2.0, result=msgspec.Raw(b'"forged"'))
    await told(server, opened)
    waiting = asyncio.create_task(results.wait(identity, timeout=20))
    async with results.events(identity) as events, Redis.from_url(server.url(2)) as redis:
        first = await anext(events)
        async with redis.pubsub() as hearing:
            await hearing.subscribe(Journal(database=2).live)
            await told(server, Event(id=f"other-{identity}", state="STARTED", timestamp=1.0, source="signal"))
            heard = await anext(each["data"] async for each in hearing.listen() if each["type"] == "message")
        place = f"{first.epoch} {first.offset + 2}".encode()
        for head in (place, place + b" " + b"f" * 40, heard.partition(b"\n")[0]):
            await redis.publish(Journal(database=2).live, head + b"\n" + encode(end))
        await told(server, msgspec.structs.replace(end, result=msgspec.Raw(b'"true"')))
        assert [decode(each.line).state async for each in events] == ["SUCCESS"]
    assert await waiting == "true"


async def test_what_ended_before_anyone_waited(app: Celery, results: Results, server: Valkey) -> None:
    for name, args in (("ignore", ()), ("reject", ()), ("add", (1, 2))):
        sent = app.send_task(name, args, ignore_result=True)
        async for _ in results.events(sent):
            pass
        async with watcher.results(app) as later:
            if name == "reject":
                with pytest.raises(TaskRejected):
                    await later.wait(sent.id, timeout=20)
            else:
                assert await later.wait(sent.id, timeout=20) == (3 if name == "add" else None)


async def test_what_is_not_even_in_the_journal_any_more(results: Results, server: Valkey) -> None:
    endings = ("IGNORED", "REVOKED", "REJECTED", "SUCCESS")
    for state in endings:
        await told(server, Event(id=f"old-{state}", state=state, timestamp=1.0, source="signal"))
    with server.client(2) as redis:
        redis.xtrim(Journal().stream, maxlen=0)
    assert await results.wait("old-IGNORED", timeout=20) is None
    with pytest.raises(celery.exceptions.TaskRevokedError):
        await results.wait("old-REVOKED", timeout=20)
    with pytest.raises(TaskRejected):
        await results.wait("old-REJECTED", timeout=20)
    with pytest.raises(watcher.client.ResultUnavailable):
        await results.wait("old-SUCCESS", timeout=20)
    for state in endings:
        assert await states(results, f"old-{state}") == [state]


async def test_lookup_finds_state_events_trimmed_from_the_stream(server: Valkey) -> None:
    """Also while it is being looked up."""
    journal, numbers = Journal(namespace="leaving", history=10), itertools.count(1)
    async with Redis.from_url(server.url()) as redis, Redis.from_url(server.url()) as writing:
        script = writing.register_script(APPEND)

        async def append(*events: Event) -> None:
            records = [Record(event.id, standing(event), encode(event)) for event in events]
            keys, arguments = journal.append("w", next(numbers), records)
            await script(keys=keys, args=arguments)

        def change(state: str, timestamp: float, identity: str = "a") -> Event:
            return Event(id=identity, state=state, timestamp=timestamp, source="signal")

        async def go_on() -> None:
            for number in itertools.count(2):
                await append(change("PROGRESS", number), *(change("SUCCESS", 1.0, f"{number}-{i}") for i in range(6)))

        await append(change("STARTED", 1.0), change("PROGRESS", 1.0))
        lookup = Lookup(redis, "celery-task-meta-", redis, journal)
        async with anyio.create_task_group() as group:
            group.start_soon(go_on)
            newest = 0
            for _ in range(300):
                look = (await lookup.known_to_journal(["a", "b"], ["a"]))["a"]
                told = [decode(line) for _, line in look.lines]
                assert [event.state for event in told] == ["STARTED", "PROGRESS"]
                assert look.lines[1][0] >= newest
                newest = look.lines[1][0]
            group.cancel_scope.cancel()
        assert newest > 10


async def states(results: Results, identity: str, **options: Any) -> list[str]:
    with anyio.fail_after(30):
        return [event.state async for event in results.events(identity, **options)]


async def test_events_from_the_first_to_the_last(app: Celery, results: Results) -> None:
    sent = app.send_task("pause", (0.3,))
    live = [event async for event in results.events(sent)]
    assert sorted(event.state for event in live) == sorted(WAY)
    assert (live[-1].state, live[-1].result, live[-1].ends) == ("SUCCESS", 0.3, True)
    assert [event.offset for event in live] == sorted(event.offset for event in live)
    again = [event async for event in results.events(sent)]
    assert [(event.offset, event.line) for event in again] == [(event.offset, event.line) for event in live]
    since = (live[0].epoch, live[0].offset)
    assert [event.offset async for event in results.events(sent, since=since)] == [each.offset for each in live[1:]]
    assert await states(results, sent.id, since=("another epoch", 10**9)) == [event.state for event in live]


async def test_events_of_a_task_that_runs_begin_with_what_was(app: Celery, results: Results) -> None:
    sent = app.send_task("pause", (0.6,))
    first = results.events(sent)
    seen = set()
    async for event in first:
        seen.add(event.state)
        if seen >= {"RECEIVED", "STARTED"}:  # which are told by different processes
            break
    async with watcher.results(app) as later:
        assert sorted(await states(later, sent.id)) == sorted(WAY)
    assert [event.state async for event in first] == ["SUCCESS"]  # where it was left off


async def test_progress_comes_as_it_is_made(app: Celery, results: Results) -> None:
    metas = [event.meta async for event in results.events(app.send_task("report", (50,))) if event.state == "PROGRESS"]
    assert metas[-1] == {"current": 50, "total": 50}


async def test_a_slow_reader_gets_the_newest_of_each_state(results: Results, server: Valkey) -> None:
    events = results.events("busy")
    await told(server, Event(id="busy", state="STARTED", timestamp=1.0, source="signal"))
    first = await anext(events)
    assert first.state == "STARTED"
    for start in range(2, 1600, 400):
        moments = range(start, start + 400)
        await told(
            server, *[Event(id="busy", state="PROGRESS", timestamp=float(at), source="signal") for at in moments]
        )
    await told(server, Event(id="busy", state="SUCCESS", timestamp=3000.0, source="signal"))
    with anyio.fail_after(30):
        seen = [event async for event in events]
    assert 1000 <= len(seen) <= 1601
    assert (seen[-1].state, seen[-1].timestamp) == ("SUCCESS", 3000.0)


async def test_who_stops_reading_is_forgotten(app: Celery, results: Results, server: Valkey) -> None:
    async for _ in results.events(app.send_task("pause", (0.3,))):
        break
    events: Any = results.events("left")
    await eventually(lambda: channels(server), what="the subscription")
    del events
    gc.collect()
    await eventually(lambda: not channels(server), what="no subscription")


async def test_server_sent_events(app: Celery, results: Results, server: Valkey) -> None:
    sent = app.send_task("pause", (0.3,))
    with anyio.fail_after(30):
        messages = [message async for message in results.sse(sent)]
    assert messages.pop() == "event: end\ndata: {}\n\n"
    assert all(message.endswith("}\n\n") for message in messages)
    ids, lines = zip(*(message.rstrip().split("\n") for message in messages), strict=True)
    assert sorted(json.loads(line.removeprefix("data: "))["state"] for line in lines) == sorted(WAY)
    first = ids[0].removeprefix("id: ")
    assert [message async for message in results.sse(sent.id, last_event_id=first)][:-1] == messages[1:]
    for malformed in ("", "x", ":", "1:-1", "a:b:c"):
        assert len([message async for message in results.sse(sent.id, last_event_id=malformed)]) == 4


async def test_a_browser_that_goes_away_leaves_nothing(results: Results, server: Valkey) -> None:
    async def serve() -> None:
        async for _ in results.sse("nobody"):
            pass

    async with asyncio.TaskGroup() as tasks:
        serving = [tasks.create_task(serve()) for _ in range(10)]
        await eventually(lambda: channels(server), what="the subscription")
        for each in serving:
            each.cancel()
    await eventually(lambda: not channels(server), what="no subscription")


def channels(server: Valkey) -> list[Any]:
    with server.client() as redis:
        return list(redis.pubsub_channels("celery-task-meta-*"))


async def test_events_without_a_plugin_come_from_the_result_backend() -> None:
    with valkey_server() as server:
        env = {"CELERY_BROKER_URL": server.url(1), "CELERY_RESULT_BACKEND": server.url(2)}
        app = Celery("program", broker=env["CELERY_BROKER_URL"], backend=env["CELERY_RESULT_BACKEND"])
        with worker("tests.worker.app", env=env):
            async with watcher.results(app) as results:
                sent = app.send_task("report", (3,))
                seen = await read(results, sent.id)
                assert (seen[-1].state, seen[-1].result) == ("SUCCESS", 3)
                assert {event.data["source"] for event in seen} == {"backend"}
                assert await states(results, sent.id) == ["SUCCESS"]
                failed = await read(results, app.send_task("fail", ("no luck",)).id)
                assert failed[-1].exception is not None
                assert failed[-1].exception["message"] == "no luck"
            del sent
            let_go(app)


async def read(results: Results, identity: str) -> list[TaskEvent]:
    with anyio.fail_after(30):
        return [event async for event in results.events(identity)]


async def test_the_journal_may_be_on_another_server(
    app: Celery, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with valkey_server() as other:
        monkeypatch.setenv("WATCHER_REDIS_URL", other.url(3))
        async with watcher.results(app) as results:
            # The worker tells its own journal; this one is told by hand.
            waiting = asyncio.create_task(results.wait("elsewhere", timeout=10))
            await eventually(lambda: channels(server), what="the subscription")
            async with Redis.from_url(other.url(3)) as redis:
                event = Event(id="elsewhere", state="IGNORED", timestamp=1.0, source="signal")
                keys, arguments = Journal(database=3).append("w", 1, [Record(event.id, standing(event), encode(event))])
                await redis.register_script(APPEND)(keys=keys, args=arguments)
            assert await waiting is None
            assert await results.wait(app.send_task("add", (1, 2)), timeout=10) == 3
            other.kill()  # results are had without it
            assert await results.wait(app.send_task("add", (1, 3)), timeout=10) == 4
