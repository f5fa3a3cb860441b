"""Once per task id and idempotency key, and many at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from celery import Celery

from tests.relay.support import JOURNAL, SECRET, celery_app, gateway_to, journal, queued, request, timed
from tests.support.valkey import Valkey
from watcher.core.errors import (
    BadArguments,
    BadRequest,
    Conflict,
    NotPermitted,
    TooMany,
    Unavailable,
)
from watcher.core.permissions import OPEN, Grant
from watcher.core.settings import Settings
from watcher.relay.api.submission import parse
from watcher.relay.submit.gateway import Gateway, Submitted
from watcher.relay.submit.idempotency import Claim, ClaimTaken, IdempotencyStore, subject_digest

pytestmark = pytest.mark.anyio


async def test_the_same_id_again_is_the_same_task(gateway: Gateway, valkey: Valkey) -> None:
    data = request("tasks.add", 1, 2, options={"task_id": "once"})
    first = await gateway.submit(data, OPEN)
    respaced = b'{"options": {"task_id": "once"}, "kwargs": {}, "args": [1,2], "task": "tasks.add"}'
    assert await gateway.submit(respaced, OPEN) == first
    assert len(queued(valkey)) == len(journal(valkey)) == 1


async def test_the_same_id_with_other_arguments_is_a_conflict(gateway: Gateway, valkey: Valkey) -> None:
    await gateway.submit(request("tasks.add", 1, 2, options={"task_id": "once"}), OPEN)
    with pytest.raises(Conflict, match="'once' was used for another request"):
        await gateway.submit(request("tasks.add", 1, 3, options={"task_id": "once"}), OPEN)
    with pytest.raises(Conflict):
        await gateway.submit(request("tasks.add", 1, 2, options={"task_id": "once", "queue": "celery"}), OPEN)
    assert len(queued(valkey)) == 1


async def test_the_same_key_again_is_the_same_task(gateway: Gateway, valkey: Valkey) -> None:
    first = await gateway.submit(request("tasks.add", 1, 2), OPEN, key="k 1")
    assert await gateway.submit(request("tasks.add", 1, 2), OPEN, key="k 1") == first
    assert await gateway.submit(request("tasks.add", 1, 2, options={"task_id": first.id}), OPEN) == first
    with pytest.raises(Conflict, match="'k 1' was used for another request"):
        await gateway.submit(request("tasks.add", 1, 3), OPEN, key="k 1")
    with pytest.raises(Conflict):
        await gateway.submit(request("tasks.add", 1, 2, options={"task_id": "other"}), OPEN, key="k 1")
    assert (await gateway.submit(request("tasks.add", 1, 2), OPEN, key="k 2")).id != first.id
    assert len(queued(valkey)) == 2


@pytest.mark.parametrize("key", ["", "a" * 256, "a\nb", "ä"])
async def test_a_key_that_is_none_is_refused(gateway: Gateway, key: str) -> None:
    with pytest.raises(BadRequest, match="idempotency key"):
        await gateway.submit(request("tasks.add", 1, 2), OPEN, key=key)


async def test_two_relays_and_many_repeats_at_once_send_once(app: Celery, valkey: Valkey) -> None:
    found: list[Submitted] = []
    async with gateway_to(app, valkey.url()) as (one, _), gateway_to(app, valkey.url()) as (two, _):

        async def submit(gateway: Gateway, number: int) -> None:
            options = {"task_id": "once"} if number % 2 else {}
            key = None if number % 2 else "once"
            if number % 2 or number > 20:
                found.append(await gateway.submit(request("tasks.add", 1, 2, options=options), OPEN, key=key))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(submit, one, number)
                group.start_soon(submit, two, number)
    assert len(found) == 20
    assert len(set(map(repr, found))) == 1
    assert len(queued(valkey)) == len(journal(valkey)) == 1


async def test_another_subjects_id_is_refused_and_its_key_is_its_own(app: Celery, valkey: Valkey) -> None:
    me, you = Grant(subject="me", submit=("*",)), Grant(subject="you", submit=("*",))
    async with gateway_to(app, valkey.url(), Settings(secret=SECRET)) as (gateway, redis):
        mine = await gateway.submit(request("tasks.add", 1, 2), me, key="k")
        data = request("tasks.add", 1, 2, options={"task_id": mine.id})
        with pytest.raises(NotPermitted, match="in use"):
            await gateway.submit(data, you)
        assert (await gateway.submit(data, me)).offset == mine.offset
        assert (await gateway.submit(request("tasks.add", 1, 2), you, key="k")).id != mine.id
        # Nor is an id of a task that was sent past the relay.
        await redis.hset(JOURNAL.open, "elsewhere", "0000000")
        with pytest.raises(NotPermitted, match="in use"):
            await gateway.submit(request("tasks.add", 1, 2, options={"task_id": "elsewhere"}), you)


async def test_task_id_with_a_stored_result_is_in_use(valkey: Valkey) -> None:
    """Whoever submits may watch: the safety net would show the result of the old task."""
    app = celery_app(valkey.url(15), valkey.url(14))

    def store(identity: str) -> None:
        with valkey.client(14) as redis:
            redis.set(f"celery-task-meta-{identity}", b'{"status": "SUCCESS", "result": "theirs"}')

    store("old")
    me, everyone = Grant(subject="me", submit=("*",)), Grant(subject="root", submit=("*",), watch=("task:*",))
    async with gateway_to(app, valkey.url(), Settings(secret=SECRET)) as (gateway, _):
        data = request("tasks.add", 1, 2, options={"task_id": "old"})
        with pytest.raises(NotPermitted, match="in use"):
            await gateway.submit(data, me)
        assert (queued(valkey), journal(valkey)) == ([], [])
        own = request("tasks.add", 1, 2, options={"task_id": "own"})
        first = await gateway.submit(own, me)
        store("own")
        assert (await gateway.submit(own, me)).offset == first.offset  # a repeat, after its end
        assert (await gateway.submit(data, everyone)).id == "old"  # who sees it anyway may


async def test_repeated_submit_gives_a_token_only_to_its_subject(app: Celery, valkey: Valkey) -> None:
    data = request("tasks.add", 1, 2, options={"task_id": "guessed"})
    nobody, me = Grant(submit=("*",)), Grant(subject="me", submit=("*",))
    async with gateway_to(app, valkey.url(), Settings(secret=SECRET)) as (gateway, _):
        assert (await gateway.submit(data, nobody)).token
        assert (await gateway.submit(data, nobody)).token is None  # of all the tokens without a subject, whose is it?
        data = request("tasks.add", 1, 2, options={"task_id": "mine"})
        assert (await gateway.submit(data, me)).token
        assert (await gateway.submit(data, me)).token


async def test_queues_are_those_that_the_setting_names(app: Celery, valkey: Valkey) -> None:
    async with gateway_to(app, valkey.url(), Settings(submit_queues=("slow", "user.*"))) as (gateway, _):
        for queue in ("slow", "user.1"):
            await gateway.submit(request("tasks.add", 1, 2, options={"queue": queue}), OPEN)
        await gateway.submit(request("tasks.add", 1, 2), OPEN)  # where the app routes it
        with pytest.raises(NotPermitted, match="queue 'other'"):
            await gateway.submit(request("tasks.add", 1, 2, options={"queue": "other"}), OPEN)
    async with gateway_to(app, valkey.url()) as (gateway, _):
        for queue in ("_kombu.binding.celery", "unacked", "celery-task-meta-x", "{watcher}:journal"):
            with pytest.raises(BadArguments, match="reserved by"):
                await gateway.submit(request("tasks.add", 1, 2, options={"queue": queue}), OPEN)


async def test_a_claim_of_a_relay_that_died_is_taken_over(app: Celery, valkey: Valkey) -> None:
    data = request("tasks.add", 1, 2, options={"task_id": "orphan"})
    async with gateway_to(app, valkey.url()) as (gateway, redis):
        digest = parse(data, datetime.now().astimezone(), app.timezone).digest
        claim = Claim("orphan", True, subject_digest(""), digest)
        assert await IdempotencyStore(redis, JOURNAL, guarded=False).take([claim]) == [ClaimTaken("orphan")]
        # So young, it may be under way.
        elapsed, outcome = await timed(lambda: gateway.submit(data, OPEN))
        assert isinstance(outcome, Unavailable)
        assert (outcome.submitted, elapsed < 3) == ("unknown", True)
        assert queued(valkey) == []
        await redis.pexpire(JOURNAL.claim("id:orphan"), 24 * 3600 * 1000 - 6000)
        assert (await gateway.submit(data, OPEN)).id == "orphan"
    assert [message["headers"]["id"] for message in queued(valkey)] == ["orphan"]


@pytest.mark.parametrize(
    "value", [b"", b"s", b"s a b", b"c x y z", b"\xff\xfe", b"s " + b"a" * 16 + b" " + b"b" * 32 + b" e x"]
)
async def test_a_claim_that_no_relay_made_is_in_the_way(gateway: Gateway, valkey: Valkey, value: bytes) -> None:
    with valkey.client() as redis:
        redis.set(JOURNAL.claim("id:strange"), value)
    with pytest.raises(NotPermitted, match="in use"):
        await gateway.submit(request("tasks.add", 1, 2, options={"task_id": "strange"}), OPEN)
    assert (await gateway.submit(request("tasks.add", 1, 2, options={"task_id": "other"}), OPEN)).id == "other"


async def test_hundreds_at_once_are_carried_in_order_of_the_journal(gateway: Gateway, valkey: Valkey) -> None:
    found: dict[int, Submitted] = {}

    async def submit(number: int) -> None:
        found[number] = await gateway.submit(request("tasks.add", number, 0), OPEN)

    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(submit, number)
    events = journal(valkey)
    assert len(events) == len(queued(valkey)) == 300
    assert {told.id: told.offset for told in found.values()} == {e.id: at for at, e in enumerate(events, start=1)}


async def test_more_than_can_wait_are_refused(gateway: Gateway) -> None:
    gateway._batcher._bound = 10
    outcomes: list[Any] = []

    async def submit() -> None:
        outcomes.append((await timed(lambda: gateway.submit(request("tasks.add", 1, 0), OPEN)))[1])

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(submit)
    kinds = {type(outcome) for outcome in outcomes}
    assert kinds == {Submitted, TooMany}
