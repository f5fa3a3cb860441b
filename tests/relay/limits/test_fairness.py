"""What somebody's work costs is charged to their address, and whoever comes from elsewhere is served in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from celery import Celery

from tests.relay.http.test_query import begun, step
from tests.relay.limits.test_limits import Clock, limits
from tests.relay.serving import listening
from tests.relay.support import SECRET
from tests.support.client import Client, client
from tests.support.valkey import Valkey
from watcher.core.errors import TooMany
from watcher.core.event import Event, encode
from watcher.core.permissions import OPEN, issue
from watcher.core.settings import Settings
from watcher.relay.api.schemas import Registry
from watcher.relay.api.task_list import TaskListCache
from watcher.relay.limits.bounded_threads import BoundedThreads
from watcher.relay.limits.limits import COMMAND, AddressUsage
from watcher.relay.limits.metering import UsageBill, metered, on_bill, turn
from watcher.relay.stream.history import History
from watcher.relay.submit.batcher import Batcher
from watcher.relay.websocket.handshake import PATH

pytestmark = pytest.mark.anyio

FLOOD = 200


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@contextmanager
def charged(at_least: float, below: float) -> Iterator[AddressUsage]:
    """An account that is charged so many seconds within, at a time that stands still."""
    allowed, clock, _ = limits(max_commands_per_address=1_000_000)
    account = allowed.enter("192.0.2.1")
    yield account
    commands = (account.ahead(clock.now) + 1.0) * 1_000_000
    assert at_least <= commands * COMMAND < below


def heavy(clock: Clock | None = None, address: str = "192.0.2.1") -> AddressUsage:
    allowed, own, _ = limits()
    account = allowed.enter(address)
    account.charge(10_000, (clock or own).now)
    assert account.heavy
    return account


async def test_metering_charges_cpu_time_but_not_waiting() -> None:
    async def work() -> str:
        burn(0.01)
        await anyio.sleep(0.1)  # waiting is what must cost nothing
        await BoundedThreads(1).run(lambda: burn(0.01), 5)
        return "done"

    with charged(0.02, 0.06) as account:
        assert await metered(UsageBill((account,)), work) == "done"
        await anyio.lowlevel.checkpoint()  # what the thread took is told by itself
    with charged(0.01, 0.05) as account:  # of what was paid before nothing is charged again
        await metered(UsageBill((account,), paid=0.01), work)


async def test_errors_and_cancellation_go_through_and_are_charged_too() -> None:
    async def fail() -> None:
        burn(0.01)
        await anyio.lowlevel.checkpoint()
        raise ZeroDivisionError

    with charged(0.01, 0.05) as account, pytest.raises(ZeroDivisionError):
        await metered(UsageBill((account,)), fail)
    with anyio.move_on_after(0.01) as scope:
        await metered(UsageBill((account,)), anyio.sleep_forever)
    assert scope.cancelled_caught


async def test_who_has_done_much_waits_for_a_turn_in_the_midst_of_it() -> None:
    went = list[str]()
    mine = heavy()
    others = AddressUsage("192.0.2.2", mine._limits, trusted=False)
    others.charge(10_000, mine._limits.now())

    async def work(name: str, steps: int) -> None:
        for _ in range(steps):
            await turn()
            went.append(name)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(metered, UsageBill((mine,)), work, "mine", 10)
        group.start_soon(metered, UsageBill((others,)), work, "other", 3)
    assert [index for index, name in enumerate(went) if name == "other"][-1] < 8, went[:20]


async def test_a_flood_in_threads_and_lanes_leaves_places_for_others() -> None:
    threads, flood, went = BoundedThreads(4), heavy(), list[str]()
    free, batches = anyio.Event(), list[list[str]]()

    async def call(name: str, of: UsageBill) -> None:
        with on_bill(of):
            await threads.run(lambda: burn(0.001), 10)
        went.append(name)

    async def carry(items: list[str], _deadline: float) -> None:
        batches.append(items)
        await free.wait()

    lanes = Batcher(carry, lanes=4, bound=50)

    async def submit(name: str, of: UsageBill) -> None:
        with on_bill(of):
            await lanes.run(name, anyio.current_time() + 10)

    flood.turns.served = flood._limits.now()  # somebody else was there
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(call, "flood", UsageBill((flood,)))
            group.start_soon(submit, "flood", UsageBill((flood,)))
        await anyio.lowlevel.checkpoint()
        group.start_soon(call, "other", UsageBill())
        group.start_soon(submit, "other", UsageBill())
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert batches == [["flood"], ["other"]]
        free.set()
    assert went.index("other") < 10
    assert max(map(len, batches)) == 4
    async with anyio.create_task_group() as group:
        free = anyio.Event()
        for _ in range(51):
            group.start_soon(submit, "flood", UsageBill((flood,)))
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        with pytest.raises(TooMany), on_bill(UsageBill((flood,))):
            await lanes.run("one more", anyio.current_time() + 10)
        free.set()


def test_a_list_is_made_in_pieces_and_is_as_of_its_beginning() -> None:
    history = History(10_000, 1 << 24)
    history.reset("1", 1)

    def tell(identity: str, state: str) -> None:
        history.append(encode(Event(id=identity, state=state, timestamp=1.0, source="signal", name="t")))

    for number in range(350):
        tell(f"t{number}", "PENDING")
    steps, pieces = begun(history, OPEN, limit=1000), 1
    while (found := step(steps)) is None:
        pieces += 1
        tell("t5", "STARTED")  # it moves to the front, and is in the list all the same
        tell(f"new{pieces}", "PENDING")
    assert pieces == 4
    assert [task.id for task in found.tasks] == [f"t{number}" for number in reversed(range(350))]
    assert (found.offset, found.next) == (350, None)
    assert next(task for task in found.tasks if task.id == "t5").state == "STARTED"
    nothing = begun(history, OPEN, state="NOSUCH")
    assert step(nothing) is None
    history.reset("2", 1)
    tell("other", "NOSUCH")
    found = step(nothing)
    assert found is not None
    assert (found.epoch, [task.id for task in found.tasks]) == ("2", ["other"])


def test_a_registry_is_made_once_for_all_who_may_submit_the_same() -> None:
    registries, made, tasks = TaskListCache(), list[str](), [object(), object()]

    def told(rights: str) -> bytes:
        def make(_: object) -> Registry:
            made.append(rights)
            return Registry([], revoke=True)

        return bytes(registries.encoded(rights, tasks, make))

    assert told("a") == told("a") == told("b") == b'{"tasks":[],"revoke":true}'
    assert made == ["a", "b"]
    tasks[1] = object()
    told("a")
    assert made == ["a", "b", "a"], "other tasks, another registry"
    for number in range(100):
        told(f"{number}")
    assert len(registries._encoded) == 64


@pytest.mark.parametrize(
    ("method", "asked"),
    [("revoke", {"id": "x"}), ("counts", {"filter": "text -name:a* runtime:>1s", "by": "name,queue"})],
)
async def test_submit_is_answered_during_a_flood(valkey: Valkey, app: Celery, method: str, asked: Any) -> None:
    async with listening(valkey.url(), app, Settings(secret=SECRET)) as (http, _):
        url = str(http.base_url).replace("http", "ws", 1) + PATH
        flooding = issue(SECRET, revoke=True, watch=["*"], subject="flood")
        submitting = issue(SECRET, submit=["*"], subject="good")
        async with (
            client(url, token=flooding, local_addr=("127.0.0.2", 0)) as flood,
            client(url, token=submitting, local_addr=("127.0.0.3", 0)) as good,
        ):
            numbers = [await flood.send(rpc={"method": method, "data": asked}) for _ in range(FLOOD)]
            await flood.answer(numbers[0])
            assert await good.rpc("submit", task="tasks.add", args=[1, 2])
            assert answered(flood) < FLOOD * 3 / 4, "it has not waited for them"
            await flood.answer(numbers[-1], timeout=60)


def answered(one: Client) -> int:
    return len(one._replies)


async def test_frame_is_processed_in_batches_of_100_commands(valkey: Valkey) -> None:
    async with (
        listening(valkey.url()) as (http, relay),
        client(str(http.base_url).replace("http", "ws", 1) + PATH) as one,
    ):
        (session,) = [socket._session for socket in relay.clients]
        assert session is not None
        asked = b"\n".join(b'{"id":%d,"ping":{}}' % number for number in range(1, 251))
        pieces = list[int]()
        while asked:
            outcome = session.receive(asked)
            pieces.append(len(outcome.replies))
            asked = outcome.rest
        assert pieces == [100, 100, 50]
        await one.ask(ping={})
