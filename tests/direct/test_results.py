"""`watcher.results`, straight from Redis: workers with the plugin and without it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import celery.exceptions
import pytest
from celery import Celery, chain, group, shared_task
from celery.result import AsyncResult

import watcher
from tests.support.apps import let_go
from tests.support.control import revoke
from tests.support.processes import worker
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import eventually
from watcher.core.errors import RedisUnreachable, SettingError
from watcher.direct import Results, ResultsClosed

pytestmark = pytest.mark.anyio


class Place:
    """A worker, and the app of a program that sends tasks to it."""

    def __init__(self, server: Valkey, *, plugin: bool) -> None:
        self.server = server
        self.plugin = plugin
        self.env = {
            "CELERY_BROKER_URL": server.url(1),
            "CELERY_RESULT_BACKEND": server.url(2),
            "INSTALL": "1" if plugin else "0",
        }
        self.app = Celery("program", broker=server.url(1), backend=server.url(2))

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        return self.app.send_task(name, args, **options)


@pytest.fixture(scope="module", params=[True, False], ids=["plugin", "no-plugin"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with valkey_server() as server:
        there = Place(server, plugin=request.param)
        with worker("tests.worker.app", env=there.env, concurrency=4):
            yield there
            let_go(there.app)


@pytest.fixture
async def results(place: Place) -> AsyncIterator[Results]:
    async with watcher.results(place.app) as opened:
        yield opened


@pytest.fixture
async def from_url(place: Place) -> AsyncIterator[Results]:
    async with watcher.results(place.server.url(2)) as opened:
        yield opened


async def test_a_result_is_awaited(place: Place, results: Results, from_url: Results) -> None:
    task = place.send("add", 2, 3)
    assert await results.wait(task, timeout=20) == 5
    assert await results.wait(task.id) == 5  # it was there before
    assert await from_url.wait(task.id, timeout=20) == 5
    large = "x" * 100_000  # too large for an event
    assert await results.wait(place.send("echo", large), timeout=20) == large


async def test_many_wait_for_the_same(place: Place, results: Results) -> None:
    task = place.send("pause", 0.2)
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(results.wait(task, timeout=20)) for _ in range(20)]
    assert {wait.result() for wait in waits} == {0.2}


async def test_it_raises_what_get_raises(place: Place, results: Results) -> None:
    task = place.send("fail", "no luck")
    with pytest.raises(ValueError, match="no luck") as raised:
        await results.wait(task, timeout=20)
    with pytest.raises(ValueError, match="no luck") as got:
        task.get(timeout=20)
    assert (type(raised.value), raised.value.args) == (type(got.value), got.value.args)
    assert any("raise ValueError(message)" in note for note in raised.value.__notes__)
    with pytest.raises(celery.exceptions.SoftTimeLimitExceeded):
        await results.wait(place.send("soft"), timeout=20)


async def test_a_url_raises_what_the_client_of_a_relay_does(place: Place, from_url: Results) -> None:
    with pytest.raises(watcher.TaskFailed) as raised:
        await from_url.wait(place.send("fail", "no luck"), timeout=20)
    assert (raised.value.type, raised.value.message) == ("ValueError", "no luck")
    assert "raise ValueError(message)" in (raised.value.traceback or "")


async def test_revoked(place: Place, results: Results, from_url: Results) -> None:
    task = place.send("pause", 30)
    await started(results, place, task)
    revoke(place.app, task.id, terminate=True)
    with pytest.raises(celery.exceptions.TaskRevokedError):
        await results.wait(task, timeout=20)
    with pytest.raises(watcher.TaskRevoked):
        await from_url.wait(task.id, timeout=20)


async def started(results: Results, place: Place, task: AsyncResult[Any]) -> None:
    """Until a worker runs it, which without the plugin only its own inspection tells."""
    if place.plugin:
        async for event in results.events(task):
            if event.state == "STARTED":
                return

    def active() -> bool:
        found = place.app.control.inspect(timeout=0.3).active() or {}
        return any(each["id"] == task.id for running in found.values() for each in running)

    await eventually(lambda: anyio.to_thread.run_sync(active), what="the task to run")


async def test_retries_are_no_end(place: Place, results: Results) -> None:
    assert await results.wait(place.send("flaky"), timeout=20) == "at last"


async def test_a_time_out_says_where_the_task_is_if_the_plugin_tells(place: Place, results: Results) -> None:
    waiting = place.send("pause", 3)

    async def said() -> str:
        with pytest.raises(TimeoutError, match=f"^task {waiting.id} has not ended within 0.1 s") as raised:
            await results.wait(waiting, timeout=0.1)
        return str(raised.value).partition(" s: ")[2]

    if place.plugin:
        told = await eventually(said, what="the plugin to tell")
        assert re.fullmatch(r"it is (RECEIVED|STARTED)( on \S+, queue 'celery')?", told)
    else:
        assert await said() == ""
    many = [place.app.signature("pause", (0,)).apply_async(queue="nobody-takes-it") for _ in range(3)]
    with pytest.raises(TimeoutError, match=r"\(and 2 more\) has not ended within 0.1 s"):
        [outcome async for outcome in results.as_completed(many, timeout=0.1)]


async def test_time_out_and_cancellation_leave_it_running(place: Place, results: Results) -> None:
    task = place.send("pause", 0.6)
    with pytest.raises(TimeoutError, match=f"^task {task.id} has not ended within 0.05 s"):
        await results.wait(task, timeout=0.05)
    with anyio.move_on_after(0.05) as scope:
        await results.wait(task)
    assert scope.cancelled_caught
    waiting = asyncio.create_task(results.wait(task))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()
    assert await results.wait(task, timeout=20) == 0.6


async def test_a_group_and_a_chain(place: Place, results: Results) -> None:
    add = place.app.signature("add")
    together = group(add.clone((number, 1)) for number in range(5)).apply_async()
    assert await results.wait(together, timeout=20) == [1, 2, 3, 4, 5]
    linked = chain(place.app.signature("add", (1, 2)), place.app.signature("add", (3,))).apply_async()
    assert await results.wait(linked, timeout=20) == 6


async def test_a_chain_raises_what_its_earlier_link_raised(place: Place, results: Results) -> None:
    linked = chain(place.app.signature("fail", ("early",)), place.app.signature("add", (3,))).apply_async()
    with pytest.raises(ValueError, match="early"):
        await results.wait(linked, timeout=20)


async def test_as_completed(place: Place, results: Results) -> None:
    slow, fast = place.send("pause", 0.5), place.send("add", 1, 1)
    failing: Any = group([place.app.signature("fail", ("one",))]).apply_async()
    ended = [outcome async for outcome in results.as_completed([slow, fast.id, failing], timeout=20)]
    assert {outcome.id for outcome in ended} == {slow.id, fast.id, failing.results[0].id}
    assert (ended[-1].id, ended[-1].result()) == (slow.id, 0.5)
    failure = next(outcome for outcome in ended if outcome.state == "FAILURE")
    with pytest.raises(ValueError, match="one"):
        failure.result()
    with pytest.raises(TimeoutError):
        [outcome async for outcome in results.as_completed([place.send("pause", 0.5)], timeout=0.05)]


async def test_an_eager_result_and_an_ignored_one_are_there_at_once(place: Place, results: Results) -> None:
    @shared_task(name=f"double-{place.plugin}")
    def double(x: int) -> int:
        return 2 * x

    assert await results.wait(double.apply((21,))) == 42
    assert await results.wait(place.send("add", 1, 2, ignore_result=True), timeout=1) is None


async def test_leaving_the_block_raises_in_every_wait(place: Place) -> None:
    async with asyncio.TaskGroup() as tasks, watcher.results(place.app) as results:
        waits = [tasks.create_task(ended(results, f"nobody-{number}")) for number in range(10)]
        await asyncio.sleep(0)
    assert [wait.result() for wait in waits] == [ResultsClosed] * 10
    with pytest.raises(ResultsClosed):
        await results.wait("nobody")


async def ended(results: Results, identity: str) -> type[BaseException]:
    try:
        await results.wait(identity)
    except ResultsClosed as error:
        return type(error)
    raise AssertionError("it ended")


async def test_what_is_stored_in_another_database_is_another_task(place: Place, results: Results) -> None:
    with place.server.client(7) as elsewhere:
        waiting = asyncio.create_task(results.wait("order-1", timeout=20))
        await eventually(lambda: subscriptions(place.server) > 0, what="the subscription")
        meta = '{"status": "SUCCESS", "result": %s, "task_id": "order-1"}'
        elsewhere.set("celery-task-meta-order-1", meta % 1)
        elsewhere.publish("celery-task-meta-order-1", meta % 1)
        with place.server.client(2) as redis:
            redis.set("celery-task-meta-order-1", meta % 2)
            redis.publish("celery-task-meta-order-1", meta % 2)
        assert await waiting == 2


def subscriptions(server: Valkey) -> int:
    """How many tasks' channels are subscribed to."""
    with server.client() as redis:
        return len(redis.pubsub_channels("*celery-task-meta-*"))


async def test_wrong_places_are_told_clearly(place: Place) -> None:
    with pytest.raises(SettingError, match=r"result_backend='rpc'.*redis://"):
        watcher.results(Celery("x", backend="rpc://"))
    with pytest.raises(SettingError, match="a redis://"):
        watcher.results("http://127.0.0.1")
    with pytest.raises(RedisUnreachable, match="can't be reached"):
        async with watcher.results("redis://127.0.0.1:1/0"):
            pass
    with pytest.raises(TypeError, match="AsyncResult"):
        async with watcher.results(place.app) as results:
            await results.wait(5)  # type: ignore[call-overload]
