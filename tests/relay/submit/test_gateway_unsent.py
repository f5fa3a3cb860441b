"""A task whose own ``apply_async`` doesn't send it: who submits hears what stands for it, and nobody waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from celery import Celery

from tests.relay.support import JOURNAL, SECRET, gateway_to, journal, queued, request
from tests.relay.unsent import register
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.errors import BadArguments, Conflict, NotSent, Refused, Unavailable
from watcher.core.keyring import Keyring
from watcher.core.permissions import OPEN, Grant, grant
from watcher.core.settings import Settings
from watcher.relay.submit.gateway import Gateway, Submitted

pytestmark = pytest.mark.anyio


@pytest.fixture
def app(app: Celery) -> Celery:
    return register(app)


@pytest.fixture
async def gateway(app: Celery, valkey: Valkey) -> AsyncIterator[Gateway]:
    async with gateway_to(app, valkey.url()) as (made, _):
        yield made


def told(valkey: Valkey) -> list[tuple[str, str, str | None]]:
    return [(event.id, event.state, event.reason) for event in journal(valkey)]


def named(identity: str) -> dict[str, str]:
    return {"task_id": identity}


async def test_the_answer_names_the_task_that_stands_for_it(gateway: Gateway, valkey: Valkey) -> None:
    first = await gateway.submit(request("own.singleton", options=named("one")), OPEN)
    second = await gateway.submit(request("own.singleton", options=named("two")), OPEN)
    assert (first.id, first.existing) == ("one", False)
    assert second == Submitted("one", "task:one", first.epoch, 2, existing=True)
    assert told(valkey) == [("one", "PENDING", None), ("two", "PENDING", None), ("two", "REJECTED", "not_sent")]
    assert len(queued(valkey)) == 1


async def test_a_repeat_gives_the_same_task_though_it_has_ended_by_then(gateway: Gateway, valkey: Valkey) -> None:
    await gateway.submit(request("own.singleton", options=named("one")), OPEN)
    second = await gateway.submit(request("own.singleton", options=named("two")), OPEN, key="k")
    with valkey.client(14) as redis:
        redis.delete("lock:own.singleton")
    assert await gateway.submit(request("own.singleton", options=named("two")), OPEN) == second
    assert await gateway.submit(request("own.singleton", options=named("two")), OPEN, key="k") == second
    with pytest.raises(Conflict):
        await gateway.submit(request("own.singleton", 1, options=named("two")), OPEN)
    assert len(queued(valkey)) == 1
    assert len(journal(valkey)) == 3


async def test_submit_returns_the_first_of_several_substitutes(gateway: Gateway, valkey: Valkey) -> None:
    submitted = await gateway.submit(request("own.parted", options=named("one")), OPEN)
    assert (submitted.id, submitted.existing) == ("one-1", False)
    assert sorted(told(valkey)[1:]) == [("one", "REJECTED", "not_sent"), ("one-1", "PENDING", None)]
    assert [message["headers"]["id"] for message in queued(valkey)] == ["one-1", "one-2"]


@pytest.mark.parametrize("name", ["own.renaming", "own.silent", "own.mislabelled"])
async def test_one_that_is_sent_under_another_id_is_that_one(gateway: Gateway, valkey: Valkey, name: str) -> None:
    data = request(name, 5, options={**named("one"), "tags": ["mine"]})
    submitted = await gateway.submit(data, OPEN)
    assert (submitted.id, submitted.offset, submitted.existing) == ("own-one", 1, False)
    assert await gateway.submit(data, OPEN) == submitted
    assert sorted(told(valkey)[1:]) == [("one", "REJECTED", "not_sent"), ("own-one", "PENDING", None)]
    (event,) = (event for event in journal(valkey) if event.id == "own-one")
    assert (event.name, event.queue, event.root_id, event.tags) == (name, "celery", "own-one", ("mine",))
    assert (bytes(event.args), event.argsrepr) == (b"[5]", "(5,)")  # type: ignore[arg-type]  # it is Raw
    assert [message["headers"]["id"] for message in queued(valkey)] == ["own-one"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("own.nothing", NotSent, "own.nothing was not sent: its own apply_async sent nothing"),
        ("own.graceful", NotSent, "own.graceful was not sent: its own apply_async sent nothing"),
        ("own.eager", NotSent, "own.eager was not sent: its own apply_async ran the task in place"),
        ("own.hostile", NotSent, "own.hostile was not sent: its own apply_async sent nothing"),
        ("own.raising", NotSent, "own.raising was not sent: Odd"),
        ("own.locked", Unavailable, "own.locked was not sent: ConnectionError"),
        ("tasks.stubborn", BadArguments, "tasks.stubborn was not sent: ValueError: not today"),
    ],
)
async def test_where_nothing_stands_for_it_that_is_said(
    gateway: Gateway, valkey: Valkey, name: str, error: type[Refused], message: str
) -> None:
    for _ in range(2):  # the id is free again
        with pytest.raises(error) as caught:
            await gateway.submit(request(name, options=named("one")), OPEN)
        assert message in str(caught.value)
    assert told(valkey) == [("one", "PENDING", None), ("one", "REJECTED", "not_sent")] * 2
    assert queued(valkey) == []


async def test_refusal_by_custom_apply_async_names_error_and_task_id(gateway: Gateway, valkey: Valkey) -> None:
    await gateway.submit(request("own.refusing", options=named("one")), OPEN)
    with pytest.raises(NotSent) as caught:
        await gateway.submit(request("own.refusing", options=named("two")), OPEN)
    assert str(caught.value) == "own.refusing was not sent: AlreadyQueued: it is one"
    assert (caught.value.status, caught.value.code, caught.value.task_id) == (409, 409, "one")
    assert told(valkey)[1:] == [("two", "PENDING", None), ("two", "REJECTED", "not_sent")]


async def test_task_sent_later_or_followed_by_an_error_counts_as_sent(gateway: Gateway, valkey: Valkey) -> None:
    names = ["own.later", "own.afterwards", "own.noisy"]
    for name in names:
        assert (await gateway.submit(request(name, options=named(name)), OPEN)).id == name
    assert told(valkey) == [(name, "PENDING", None) for name in names]
    assert [message["headers"]["id"] for message in queued(valkey)] == names[1:]


async def test_unsent_task_is_rejected_even_after_the_submit_timed_out(gateway: Gateway, valkey: Valkey) -> None:
    """Whoever submitted has been told that nobody knows."""
    with pytest.raises(Unavailable) as caught:
        await gateway.submit(request("own.slow", options=named("one")), OPEN)
    assert caught.value.submitted == "unknown"
    assert told(valkey) == [("one", "PENDING", None)]
    with valkey.client(14) as redis:
        redis.rpush("gate", 1)
    await eventually(lambda: told(valkey)[1:] == [("one", "REJECTED", "not_sent")], what="it to be taken back")
    # The id is free.
    with valkey.client(14) as redis:
        redis.rpush("gate", 1)
    with pytest.raises(NotSent):
        await gateway.submit(request("own.slow", options=named("one")), OPEN)


async def test_one_that_was_taken_over_meanwhile_is_not_taken_back(
    app: Celery, gateway: Gateway, valkey: Valkey
) -> None:
    data = request("own.slow", options=named("one"))
    with pytest.raises(Unavailable):
        await gateway.submit(data, OPEN)
    async with gateway_to(app, valkey.url()) as (other, redis):
        # Six seconds later, another relay takes the claim for that of one that died, and its lock comes sooner.
        await redis.pexpire(JOURNAL.claim("id:one"), 24 * 3600 * 1000 - 6000)
        with valkey.client(14) as locks:
            locks.set("sends", 1)
        assert (await other.submit(data, OPEN)).id == "one"
        with valkey.client(14) as locks:
            locks.delete("sends")
            locks.rpush("gate", 1)
        await eventually(lambda: gateway._calls.running == 0, what="the first one to end")
        assert (await other.submit(data, OPEN)).id == "one"
    assert told(valkey) == [("one", "PENDING", None)] * 2


async def test_of_many_at_a_time_each_has_its_own_answer(gateway: Gateway, valkey: Valkey) -> None:
    outcomes: dict[str, str] = {}

    async def submit(name: str, number: int) -> None:
        identity = f"{name}-{number}"
        try:
            outcomes[identity] = (await gateway.submit(request(name, options=named(identity)), OPEN)).id
        except NotSent:
            outcomes[identity] = "not sent"

    names = {"own.singleton": "one", "own.graceful": "not sent", "own.renaming": "own", "tasks.expiring": "itself"}
    async with anyio.create_task_group() as group:
        for number in range(40):
            for name in names:
                group.start_soon(submit, name, number)
    (single,) = {outcomes[f"own.singleton-{number}"] for number in range(40)}
    for number in range(40):
        assert outcomes[f"own.graceful-{number}"] == "not sent"
        assert outcomes[f"own.renaming-{number}"] == f"own-own.renaming-{number}"
        assert outcomes[f"tasks.expiring-{number}"] == f"tasks.expiring-{number}"
    # Whatever is not in the queue has been taken back, and nothing else.
    sent = {message["headers"]["id"] for message in queued(valkey)}
    states = {event.id: event.state for event in journal(valkey)}
    assert {identity for identity, state in states.items() if state == "PENDING"} == sent
    assert single in sent
    assert len(sent) == 81


async def test_only_whose_it_is_is_given_sight_of_what_stands_for_it(app: Celery, valkey: Valkey) -> None:
    me, you, nobody = (Grant(subject=subject, submit=("*",)) for subject in ("me", "you", ""))
    async with gateway_to(app, valkey.url(), Settings(secret=SECRET)) as (gateway, _):
        await gateway.submit(request("own.singleton", options=named("mine")), me)
        again = await gateway.submit(request("own.singleton"), me)
        assert again.id == "mine"
        assert grant(again.token, Keyring.of(Settings(secret=SECRET))).may_watch("task:mine")
        for other in (you, nobody):
            seen = await gateway.submit(request("own.singleton"), other)
            assert (seen.id, seen.token) == ("mine", None)
        # What it sent itself is its own, whatever its id.
        renamed = await gateway.submit(request("own.renaming", options=named("x")), nobody)
        assert grant(renamed.token, Keyring.of(Settings(secret=SECRET))).may_watch("task:own-x")
