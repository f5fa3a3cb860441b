"""The whole public API as its users write it: checked by mypy and pyright (project/test_typing.py), never run."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from celery import Celery
from celery.result import AsyncResult, GroupResult

import watcher
from watcher.client import (
    Bucket,
    Counts,
    EventsLost,
    Longest,
    NameStats,
    Options,
    Quantiles,
    Relay,
    RelayClosed,
    RelayError,
    RelayRefused,
    RelayUnavailable,
    RelayUnreachable,
    ResultUnavailable,
    Series,
    Snapshot,
    Submitter,
    SyncRelay,
    SyncTask,
    Task,
    TaskEvent,
    TaskLost,
    TaskRejected,
    TokenRefused,
    Watch,
)
from watcher.direct import Events, Outcome, RedisRefused, Results, ResultsClosed, ResultUnreadable

app = Celery("proj", broker="redis://", backend="redis://")
watcher.install(app)
version: str = watcher.__version__


def sending() -> None:
    with watcher.tags("user:42", "order:7"):
        app.send_task("tasks.add", (2, 3))


def tokens(result: AsyncResult[int]) -> list[str]:
    return [
        watcher.token(result),
        watcher.token(result.id, ttl=60, watch=["tag:user:42"], submit=("tasks.*",), secret="s" * 32),
        watcher.token(uuid.uuid4()),
    ]


async def straight_from_redis(result: AsyncResult[int], group: GroupResult) -> int:
    async with watcher.results(app) as results:
        opened: Results = results
        value: int = await opened.wait(result, timeout=30)
        values: list[int] = await results.wait(group)
        by_id: int = await results.wait("order-7", 1.5)
        try:
            await results.wait(uuid.uuid4(), timeout=None)
        except (watcher.TaskFailed, watcher.TaskRevoked, TaskRejected, TimeoutError):
            pass
        except (RedisRefused, ResultsClosed, ResultUnreadable, ResultUnavailable) as error:
            print(error)
        outcome: Outcome = await results.outcome(result, timeout=1)
        async for each in results.as_completed([result, "order-7", group], timeout=10):
            state: str | None = each.state
            print(each.id, state, each.value, each.error, each.result())
        events: Events = results.events(result, since=("1795408395638612", 7))
        async for event in events:
            told: TaskEvent = event
            print(told.id, told.state, told.ends)
        async with results.events("order-7") as more:
            first: TaskEvent = await anext(more)
            await more.aclose()
        async for text in results.sse(result, last_event_id=None):
            message: str = text
            print(message)
        return value + values[0] + by_id + len(outcome.id) + len(first.line)


async def from_a_url() -> object:
    async with watcher.results("redis://127.0.0.1/14", global_keyprefix="mine") as results:
        return await results.wait("order-7")


async def given(relay: Relay, options: Options) -> Watch:
    queue: str | None = options.queue
    watch: Watch = relay.watch("tasks")
    try:
        known: Snapshot | None = await relay.get("order-7")
        times: dict[str, float] = known.times if known else {}
        print(queue, times)
    except (TokenRefused, RelayClosed):
        pass
    except RelayError as error:
        print(error)
    return watch


async def through_a_relay() -> None:
    async with watcher.connect("http://127.0.0.1:5556", token="…", patience=10) as relay:
        task: Task = await relay.submit("tasks.add", 2, y=3)
        later: Submitter = relay.options(eta=datetime.now(UTC), queue="slow", tags=["user:42"], priority=3)
        sent: tuple[str, int] | None = (await later.submit("tasks.add", 2, 3)).sent
        async for event in task:
            line: bytes = event.line
            print(event.timestamp, event.meta, event.result, event.exception, event.reason, line)
        try:
            print(await task, await task.result(timeout=30), await task.outcome())
        except watcher.TaskFailed as error:
            print(error.id, error.name, error.type, error.message, error.traceback, error.reason)
        except watcher.TaskRevoked as error:
            print(error.reason)
        except (TaskLost, RelayRefused, RelayUnavailable, RelayUnreachable) as error:
            print(error)
        async for result in relay.map("tasks.test", range(10), limit=5, ordered=False):
            print(result)
        async for result in relay.starmap("tasks.add", [(1, 2)], return_exceptions=True):
            print(result)
        known: Snapshot | None = await relay.get(task.id)
        print(known.final if known else None, await relay.registry())
        try:
            async for event in relay.watch("tag:user:42", since=sent):
                print(event.channel, event.epoch, event.offset, event.data)
        except EventsLost as lost:
            print(lost.channel)
        await task.revoke(terminate=True)
        await task.cancel()
        await relay.revoke("order-7")
        await relay.task("order-7", name="tasks.add", token="…").events().aclose()


async def questions(relay: Relay) -> None:
    async for task in relay.list("state:failed -queue:legacy", sort="runtime", limit=10):
        found: Snapshot = task
        print(found.exception)
    number: int = await relay.count()
    failed: int = await relay.count("state:failed", by=())
    by_name: Counts[str | None] = await relay.count("state:failed", by="name")
    pairs: Counts[tuple[str | None, ...]] = await relay.count(by=("state", "queue"))
    print(number, failed, by_name["mail.send"], by_name.total, by_name.more, max(pairs.values()))
    hour: Series = await relay.series("queue:mail", since=timedelta(hours=1), until=datetime.now(UTC), buckets=12)
    bucket: Bucket = hour.buckets[0]
    runtime: Quantiles | None = bucket.runtime
    print(hour.since, hour.until, hour.step, bucket.at, bucket.sent, runtime.p95 if runtime else None)
    names: list[NameStats] = await relay.names("queue:mail", since="2h")
    longest: Longest | None = names[0].waited
    print(names[0].name, names[0].count, names[0].failed, names[0].seen, longest.max if longest else None)


def blocking() -> None:
    with watcher.connect_sync("http://127.0.0.1:5556", token=lambda: "…") as relay:
        connected: SyncRelay = relay
        task: SyncTask = connected.submit("tasks.add", 2, 3)
        late = connected.options(countdown=timedelta(seconds=1), expires=60, tags=["user:42"]).submit("tasks.add", 1, 2)
        print(late.outcome(timeout=5), list(connected.watch("tasks", since=("1", 2))), connected.registry())
        known: Snapshot | None = connected.get(task.id)
        print(known)
        late.revoke(terminate=True)
        late.cancel()
        connected.revoke(task.id)
        for each in connected.list("name:mail.*", sort="sent", limit=5):
            print(each.id)
        total: int = connected.count("name:mail.*")
        by_state: Counts[str | None] = connected.count(by="state")
        pairs: Counts[tuple[str | None, ...]] = connected.count(by=("state", "name"))
        hour: Series = connected.series(buckets=6)
        names: list[NameStats] = connected.names(since="1d")
        print(total, by_state, pairs, hour, names)
        print(task.id, task.result(timeout=30), list(relay.map("tasks.test", range(5))))
        for event in task:
            print(event.state)
