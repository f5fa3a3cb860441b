"""The safety net, on a real server and with Celery's own result backend."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import pytest
from celery import Celery
from celery.app.task import Context
from redis.asyncio import Redis

from tests.support.events import event, record
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.event import Event, Task
from watcher.journal.layout import Journal
from watcher.journal.scripts import APPEND
from watcher.relay.safety_net.safety_net import SafetyNet
from watcher.relay.stream.feed import Feed
from watcher.relay.stream.history import History
from watcher.relay.stream.positions import Positions
from watcher.relay.stream.snapshot import JournalSnapshot
from watcher.relay.submit.announcer import Announcer
from watcher.rendering.policy import Policy
from watcher.rendering.result_backend import event_of
from watcher.rendering.values import Rendering

pytestmark = pytest.mark.anyio

#: How long results are stored, in seconds: Celery's default.
EXPIRES = 86400.0
POLICY = Policy(Celery(set_as_current=False), Rendering(max_result=1000, max_args=1000))


class Watched:
    """A relay's history, fed from the journal, with the safety net beside it."""

    def __init__(self, valkey: Valkey) -> None:
        self.app = Celery("watched", backend=valkey.url(14), set_as_current=False)
        self.redis = Redis.from_url(valkey.url(), protocol=2)
        self.results = Redis.from_url(valkey.url(14), protocol=2)
        self.journal = Journal()
        self.history = History(1000, 1 << 20)
        self.appender = Announcer(self.redis, self.journal)
        self.feed = Feed(self.redis, self.journal, Positions(self.redis, self.journal), self)
        self.net = SafetyNet(
            results=self.results,
            prefix="celery-task-meta-",
            expires=EXPIRES,
            redis=self.redis,
            journal=self.journal,
            history=self.history,
            read=lambda identity, payload, name: event_of(identity, payload, POLICY, 5.0, name),
            append=self.appender.append,
        )

    def restart(self, snapshot: JournalSnapshot) -> None:
        self.history.reset(snapshot.epoch, snapshot.first)
        self.extend(snapshot.lines)

    def extend(self, lines: Any) -> None:
        for line in lines:
            self.history.append(line)

    def disturb(self, trouble: str | None) -> None:
        """Nobody is to be told."""

    async def store(self, identity: str, result: Any, state: str = "SUCCESS") -> None:
        await anyio.to_thread.run_sync(self.app.backend.store_result, identity, result, state)

    async def has(self, identity: str, state: str, timeout: float = 10) -> Task:
        def found() -> Task | None:
            task = self.history.task(identity)
            return task if task is not None and task.state == state else None

        return await eventually(found, timeout=timeout, what=f"task {identity} to be {state}")


@asynccontextmanager
async def watching(valkey: Valkey, *told: Event, net: bool = True) -> AsyncIterator[Watched]:
    watched = Watched(valkey)
    async with watched.redis, watched.results, anyio.create_task_group() as group:
        group.start_soon(watched.feed.run)
        await eventually(lambda: watched.feed.trouble is None, what="the feed to be caught up")
        if told:
            await watched.appender.append(told)
        if net:
            group.start_soon(watched.net.run)
            await eventually(lambda: listening(watched.results), what="the safety net to listen")
        yield watched
        group.cancel_scope.cancel()
    watched.app.close()


async def listening(redis: Redis) -> bool | None:
    return bool(await redis.pubsub_numpat())


async def test_a_compressed_result_is_told_too(valkey: Valkey) -> None:
    async with watching(valkey) as watched:
        watched.app.conf.result_compression = "gzip"  # Celery before 5.7 doesn't know it
        await watched.store("a", {"answer": "x" * 50})
        task = await watched.has("a", "SUCCESS", timeout=1.5)
        assert json.loads(bytes(task.result)) == {"answer": "x" * 50}  # type: ignore[arg-type]  # it is there


async def test_what_no_plugin_tells_is_told_from_the_backend(valkey: Valkey) -> None:
    async with watching(valkey) as watched:
        await watched.store("a", {"pid": 1, "hostname": "w"}, "STARTED")
        await watched.has("a", "STARTED", timeout=1.5)
        await watched.store("a", {"current": 1, "total": 2}, "PROGRESS")
        task = await watched.has("a", "PROGRESS", timeout=1.5)
        assert json.loads(bytes(task.meta)) == {"current": 1, "total": 2}  # type: ignore[arg-type]  # it is there
        await watched.store("a", {"answer": 42})
        task = await watched.has("a", "SUCCESS", timeout=1.5)
        assert (task.source, bytes(task.result)) == ("backend", b'{"answer":42}')  # type: ignore[arg-type]


async def test_a_failure_is_told_with_its_error(valkey: Valkey) -> None:
    async with watching(valkey) as watched:
        await watched.store("a", ValueError("no luck"), "FAILURE")
        task = await watched.has("a", "FAILURE")
        assert task.exception is not None
        assert (task.exception.type, task.exception.message) == ("ValueError", "no luck")


async def test_stored_result_gets_the_root_id_of_a_known_parent(valkey: Valkey) -> None:
    async with watching(valkey, event("parent", "STARTED", 1.0, root_id="root")) as watched:
        for parent, root in (("parent", "root"), ("unknown", None), (None, None)):
            identity = f"child of {parent}"
            request = Context({"id": identity, "parent_id": parent, "children": []})
            store = partial(watched.app.backend.store_result, identity, 1, "SUCCESS", request=request)
            await anyio.to_thread.run_sync(store)
            assert (await watched.has(identity, "SUCCESS")).root_id == root


async def test_the_id_of_a_group_makes_no_task(valkey: Valkey) -> None:
    async with watching(valkey, event("member", "FAILURE", 1.0, group_id="group")) as watched:
        await watched.store("group", ValueError("of its tasks"), "FAILURE")
        await watched.store("task", "later")
        await watched.has("task", "SUCCESS")
        assert watched.history.task("group") is None


async def test_tries_are_told_apart_although_they_are_not_stored(valkey: Valkey) -> None:
    async with watching(valkey, event("a", "RECEIVED", 1.0, retries=1)) as watched:
        await watched.store("a", ValueError("try 0"), "RETRY")  # what is stored while try 1 waits
        await watched.store("b", ValueError("try 0"), "RETRY")
        await watched.has("b", "RETRY")
        await watched.store("b", {"pid": 1}, "STARTED")
        assert (await watched.has("b", "STARTED")).retries == 1
        await watched.store("b", 1)
        assert (await watched.has("b", "SUCCESS")).retries == 1
        await watched.store("a", 1)
        assert (await watched.has("a", "SUCCESS")).retries == 1
        assert watched.net.completed == 4


async def test_the_plugin_is_given_time_to_tell_it_better(valkey: Valkey) -> None:
    async with watching(
        valkey, event("a", "STARTED", 1.0), event("lost", "STARTED", 1.0, name="n", tags=("t",))
    ) as watched:
        for identity in ("a", "lost"):
            await watched.store(identity, 3)
        await watched.appender.append([event("a", "SUCCESS", 2.0, runtime=1.0)])
        task = await watched.has("lost", "SUCCESS")
        assert task.source == "backend"
        ((_, offset, _),) = watched.history.since({"tag:t": task.offset - 1}, 0, 1).events
        assert offset == task.offset, "its end is told on the channels that told of its start"
        task = await watched.has("a", "SUCCESS")
        assert (task.source, task.runtime) == ("signal", 1.0)
        assert watched.net.completed == 1


async def test_after_an_outage_too_the_plugin_is_given_time(valkey: Valkey) -> None:
    """What happened meanwhile comes with all that led to it; the backend knows only how it ended."""
    async with watching(valkey, event("a", "STARTED", 1.0, retries=0)) as watched:
        begun = anyio.current_time()
        await watched.store("a", 1)
        await watched.redis.config_set("min-replicas-to-write", 1)
        await eventually(lambda: not watched.net.active, what="the lease to be lost")
        await eventually(lambda: anyio.current_time() - begun > 3.1, what="the plugin's time to be over")
        await watched.redis.config_set("min-replicas-to-write", 0)
        await eventually(lambda: watched.net.active and listening(watched.results), what="the safety net to be back")
        back = anyio.current_time()
        await eventually(lambda: anyio.current_time() - back > 0.5, what="the time for which a publisher may rest yet")
        await watched.appender.append([event("a", "RETRY", 2.0), event("a", "SUCCESS", 3.0, retries=1)])
        assert (await watched.has("a", "SUCCESS")).retries == 1
        assert watched.net.completed == 0


async def test_what_ended_while_nobody_listened_is_found(valkey: Valkey) -> None:
    told = [event(f"t{number}", "STARTED", 1.0, retries=2) for number in range(700)]
    async with watching(valkey, *told, net=False) as watched, watched.results.pipeline() as pipeline:
        for each in told:
            stored = {"status": "SUCCESS", "result": 1, "traceback": None, "date_done": "2026-01-01T00:00:00+00:00"}
            _ = pipeline.set(f"celery-task-meta-{each.id}", json.dumps(stored))
        await pipeline.execute()
    async with watching(valkey) as watched:
        await eventually(lambda: watched.net.completed == 700, what="700 ends to be found")
        await watched.has("t699", "SUCCESS")
        assert await watched.redis.hlen(watched.journal.open) == 0


async def store_many(watched: Watched, count: int, age: float, kind: str, *, lives: bool = True) -> None:
    """Store results that were stored so many seconds ago, by the time that they have left, or by their own word."""
    done = datetime.fromtimestamp(time.time() - age, UTC).isoformat()
    meta = {"status": "SUCCESS", "result": 1, "traceback": None, "date_done": done}
    async with watched.results.pipeline(transaction=False) as pipeline:
        for number in range(count):
            left = round((EXPIRES - age) * 1000) if lives else None
            _ = pipeline.set(f"celery-task-meta-{kind}-{number}", json.dumps(meta), px=left)
        await pipeline.execute()


async def reads(valkey: Valkey) -> int:
    """How often values were read so far."""
    async with Redis.from_url(valkey.url(14), protocol=2) as redis:
        stats: Any = await redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("mget", "get"))


async def test_catch_up_scan_reports_only_recent_results(valkey: Valkey) -> None:
    """At the first start, and after that what was stored since; what is old isn't read, however much it is."""
    async with watching(valkey, net=False) as watched:
        await store_many(watched, 20_000, 7200, "old")
        await store_many(watched, 5, 30, "young")
        await store_many(watched, 5, 7200, "old for ever", lives=False)
        await store_many(watched, 5, 30, "for ever", lives=False)
        await watched.results.set("celery-task-meta-none", b"nonsense", ex=int(EXPIRES) - 5)
    before = await reads(valkey)
    async with watching(valkey) as watched:
        await eventually(lambda: watched.redis.exists(watched.journal.heard), what="the look to be over")
        await eventually(lambda: watched.history.last >= 10, what="what is young to be told")
        ids = {f"{kind}-{number}" for kind in ("young", "for ever") for number in range(5)}
        assert {task.id for task in watched.history.tasks("tasks", 100) if task.state == "SUCCESS"} == ids
    assert await reads(valkey) - before < 60, "each reads up to 200"
    async with watching(valkey, net=False) as watched:
        await store_many(watched, 1, 300, "before")  # a relay listened then
        await store_many(watched, 1, 5, "since")
        await watched.redis.set(watched.journal.heard, int((await watched.redis.time())[0]) - 10)
    async with watching(valkey) as watched:
        await watched.has("since-0", "SUCCESS")
        assert watched.net.completed == 1
        assert watched.history.task("before-0") is None


async def test_safety_net_still_listens_if_scan_is_not_permitted(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(valkey, net=False) as watched:
        await watched.redis.acl_setuser("default", enabled=True, commands=["-scan"])
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(watched.net.run)
                await eventually(lambda: "can't look for results" in caplog.text, what="the log to say so")
                await watched.store("a", 1)
                await watched.has("a", "SUCCESS")
                group.cancel_scope.cancel()
        finally:
            await watched.redis.acl_setuser(
                "default", enabled=True, nopass=True, keys=["*"], channels=["*"], categories=["+@all"]
            )


async def test_what_left_the_history_is_not_told_again(valkey: Valkey) -> None:
    """Of what ended before the oldest event that is there, nobody knows whether it was told."""
    now = time.time()
    told = [event(f"t{number}", "SUCCESS", now - 60 + number / 100) for number in range(1500)]
    async with watching(valkey, *told, net=False) as watched:
        await eventually(lambda: watched.history.last == 1500, what="the history to have it all")
        assert watched.history.first > 1
        await store_many(watched, 1, 90, "gone")
        await store_many(watched, 1, 1, "new")
        async with anyio.create_task_group() as group:
            group.start_soon(watched.net.run)
            await watched.has("new-0", "SUCCESS")
            assert watched.net.completed == 1
            group.cancel_scope.cancel()


async def test_another_database_is_another_app(valkey: Valkey) -> None:
    other = Celery("other", backend=valkey.url(13), set_as_current=False)
    async with watching(valkey) as watched:
        await anyio.to_thread.run_sync(other.backend.store_result, "theirs", 1, "SUCCESS")
        await watched.store("ours", 1)
        await watched.has("ours", "SUCCESS")
        assert watched.history.task("theirs") is None
    other.close()


_STRANGE = (
    pickle.dumps({"status": "SUCCESS"}), b"nonsense", b"[]", b'{"status": 5}', b"[" * 100_000, b'{"status": ""}',
    b'{"status": "SUCCESS", "result": ' + b"[" * 900 + b"]" * 900 + b"}",
)  # fmt: skip


async def test_what_is_not_json_is_left_alone(valkey: Valkey) -> None:
    async with watching(valkey) as watched:
        for payload in _STRANGE:
            await watched.results.set("celery-task-meta-strange", payload)
            await watched.results.publish("celery-task-meta-strange", payload)
        await watched.store("a", 1)
        await watched.has("a", "SUCCESS")
        assert watched.history.task("strange") is None


async def test_what_no_worker_would_store_ends_nothing(valkey: Valkey) -> None:
    """A state that is no text, tries and times that there are none of."""
    strange = (
        b'{"status": "\\ud800", "result": 1}',
        b'{"status": "STARTED", "retries": -1, "date_done": "0001-01-01"}',
        b'{"status": "STARTED", "retries": 1' + b"0" * 4000 + b"}",
    )
    async with watching(valkey) as watched:
        for number, payload in enumerate(strange):
            await watched.results.set(f"celery-task-meta-{number}", payload)
            await watched.results.publish(f"celery-task-meta-{number}", payload)
        for number, state in enumerate(("\\ud800", "STARTED", "STARTED")):
            await watched.has(str(number), state)


async def test_one_of_several_relays_does_it_and_another_follows(valkey: Valkey) -> None:
    async with watching(valkey) as one, watching(valkey, net=False) as other, anyio.create_task_group() as group:
        group.start_soon(other.net.run)
        await one.store("a", 1)
        await other.has("a", "SUCCESS")
        assert (one.net.completed, other.net.completed) == (1, 0)
        group.cancel_scope.cancel()
    async with watching(valkey) as third:
        await third.store("b", 1)
        await third.has("b", "SUCCESS")


async def test_a_broken_connection_costs_only_time(valkey: Valkey) -> None:
    async with watching(valkey, event("a", "STARTED", 1.0)) as watched:
        await watched.redis.client_kill_filter(_type="pubsub")
        await watched.store("a", 1)
        await watched.has("a", "SUCCESS")


async def test_a_repeated_end_is_appended_once(valkey: Valkey) -> None:
    async with watching(valkey) as watched:
        for _ in range(3):
            await watched.store("a", 1)
        await watched.has("a", "SUCCESS")
        keys, arguments = watched.journal.append("x", 1, [record(event("a", "SUCCESS", 9.0))])
        assert (await watched.redis.register_script(APPEND)(keys=keys, args=arguments))[2] == 0


async def test_worker_loss_is_reported_and_cleared_by_a_redelivery(valkey: Valkey) -> None:
    async with watching(valkey, event("a", "STARTED", 5.0, hostname="w")) as watched:
        await watched.redis.hset(watched.journal.workers, "w", "1.0 2")
        await eventually(lambda: reason(watched, "a") == "worker_lost" or None, what="the loss to be told")
        assert await watched.redis.hlen(watched.journal.workers) == 0, "heard of last in 1970"
        await watched.appender.append([event("a", "RECEIVED", 6.0), event("a", "STARTED", 7.0, hostname="x")])
        await eventually(lambda: reason(watched, "a") is None or None, what="the story to go on")


def reason(watched: Watched, identity: str) -> str | None:
    task = watched.history.task(identity)
    return None if task is None else task.reason
