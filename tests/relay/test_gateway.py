"""The gateway between clients and a Celery app: a real broker, a real journal, and where it matters a real worker."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest
from celery import Celery, Task
from kombu import Queue
from msgspec import UNSET
from redis.asyncio import Redis

from tests.support.processes import free_port, relay, worker
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import eventually
from watcher.errors import (
    BadArguments,
    BadRequest,
    Conflict,
    NoApp,
    NotPermitted,
    Refused,
    TooMany,
    Unavailable,
    UnknownTask,
)
from watcher.event import Event, decode
from watcher.journal import Journal, entry
from watcher.relay.claims import Claim, Claims, Taken, subject_digest
from watcher.relay.gateway import Gateway, Submitted
from watcher.relay.submission import parse
from watcher.settings import Settings
from watcher.token import OPEN, Grant, grant

pytestmark = pytest.mark.anyio

SECRET = "s" * 32
JOURNAL = Journal()


def celery_app(broker: str, backend: str | None = None, **conf: Any) -> Celery:
    """An app with the names of the bundled one's tasks, so that its worker runs what is sent here."""
    app = Celery("tasks", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(accept_content=["json"], **conf)

    @app.task(name="tasks.add", shared=False)
    def add(x: float, y: float) -> float:
        """Return the sum."""
        raise NotImplementedError

    @app.task(name="tasks.sleep", shared=False)
    def sleep(seconds: float = 10.0) -> float:
        raise NotImplementedError

    @app.task(name="tasks.expiring", expires=60, shared=False)
    def expiring() -> None:
        raise NotImplementedError

    @app.task(name="tasks.text", shared=False)
    def text(text: str) -> None:
        raise NotImplementedError

    class Stubborn(Task[Any, Any]):
        name = "tasks.stubborn"

        def run(self) -> None:
            raise NotImplementedError

        def apply_async(self, *_: Any, **__: Any) -> Any:
            raise ValueError("not today")

    app.register_task(Stubborn())
    return app


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(url, protocol=2, socket_timeout=2, socket_connect_timeout=2)
    try:
        yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def gateway_to(
    app: Celery | None, redis_url: str, settings: Settings | None = None
) -> AsyncIterator[tuple[Gateway, Redis]]:
    async with client(redis_url) as redis:
        gateway = Gateway(app, settings or Settings(), JOURNAL, redis)
        try:
            yield gateway, redis
        finally:
            await gateway.aclose()


@pytest.fixture
def app(valkey: Valkey) -> Celery:
    return celery_app(valkey.url(15), valkey.url(14))


@pytest.fixture
async def gateway(app: Celery, valkey: Valkey) -> AsyncIterator[Gateway]:
    async with gateway_to(app, valkey.url()) as (made, _):
        yield made


def request(task: str = "tasks.add", *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> bytes:
    return json.dumps({"task": task, "args": args, "kwargs": kwargs, "options": options or {}}).encode()


def journal(valkey: Valkey) -> list[Event]:
    with valkey.client() as redis:
        return [decode(entry(raw)[2]) for raw in redis.xrange(JOURNAL.stream)]


def queued(valkey: Valkey, queue: str = "celery") -> list[dict[str, Any]]:
    """Messages in the broker, oldest first."""
    with valkey.client(15) as redis:
        return [json.loads(raw) for raw in reversed(redis.lrange(queue, 0, -1))]


async def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = anyio.current_time()
    try:
        outcome = await call()
    except Refused as error:
        outcome = error
    return anyio.current_time() - start, outcome


# Submitting.


async def test_a_submission_is_announced_and_sent(gateway: Gateway, valkey: Valkey) -> None:
    submitted = await gateway.submit(request("tasks.add", 2, y=3.5, options={"tags": ["user:42", "a"]}), OPEN)
    (event,) = journal(valkey)
    assert submitted == Submitted(event.id, f"task:{event.id}", submitted.epoch, 1)
    assert (event.state, event.name, event.source, event.retries) == ("PENDING", "tasks.add", "signal", 0)
    assert (event.root_id, event.parent_id, event.queue, event.tags) == (event.id, None, "celery", ("user:42", "a"))
    assert (event.argsrepr, event.kwargsrepr) == ("(2,)", "{'y': 3.5}")
    assert (bytes(event.args), bytes(event.kwargs)) == (b"[2]", b'{"y":3.5}')  # type: ignore[arg-type]  # they are Raw
    (message,) = queued(valkey)
    assert (message["headers"]["id"], message["headers"]["task"]) == (event.id, "tasks.add")
    assert message["headers"]["watcher_tags"] == ["user:42", "a"]


async def test_a_worker_runs_it_and_pending_comes_first_and_once(
    gateway: Gateway, valkey: Valkey, tasks_env: dict[str, str]
) -> None:
    env = {**tasks_env, "WATCHER_REDIS_URL": valkey.url()}
    with worker("tasks", pool="solo", env=env):
        submitted = await gateway.submit(request("tasks.add", 2, 3), OPEN)

        def states() -> list[str]:
            return [event.state for event in journal(valkey) if event.id == submitted.id]

        await eventually(lambda: "SUCCESS" in states(), what="the worker to run it")
        assert states() == ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]
    found = await gateway.get(submitted.id)
    assert found is not None
    assert (found.state, found.source, bytes(found.result), found.final) == ("SUCCESS", "backend", b"5", True)  # type: ignore[arg-type]  # it is Raw


async def test_options_reach_the_message_and_the_event(gateway: Gateway, valkey: Valkey) -> None:
    options = {
        "task_id": "my.task:1_x-y",
        "queue": "slow",
        "countdown": 60,
        "expires": "2038-01-01T00:00:00+02:00",
        "priority": 3,
        "tags": ["b"],
    }
    submitted = await gateway.submit(request("tasks.add", 1, 2, options=options), OPEN)
    assert submitted.id == "my.task:1_x-y"
    (event,) = journal(valkey)
    with valkey.client(15) as redis:  # the broker keeps a list for each priority
        (raw,) = redis.lrange("slow\x06\x163", 0, -1)
    headers = json.loads(raw)["headers"]
    assert (event.queue, event.tags) == ("slow", ("b",))
    assert event.eta == headers["eta"]
    assert event.expires == headers["expires"]
    assert 55 < datetime.fromisoformat(headers["eta"]).timestamp() - event.timestamp < 61
    assert datetime.fromisoformat(headers["expires"]).timestamp() == 2145909600


async def test_a_tasks_own_expiry_is_told(gateway: Gateway, valkey: Valkey) -> None:
    await gateway.submit(request("tasks.expiring"), OPEN)
    (event,), (message,) = journal(valkey), queued(valkey)
    assert event.expires == message["headers"]["expires"]


async def test_routes_of_the_app_hold(valkey: Valkey) -> None:
    app = celery_app(valkey.url(15), task_routes={"tasks.add": {"queue": "adding"}})
    async with gateway_to(app, valkey.url()) as (gateway, _):
        await gateway.submit(request("tasks.add", 1, 2), OPEN)
        await gateway.submit(request("tasks.sleep"), OPEN)
    assert [event.queue for event in journal(valkey)] == ["adding", "celery"]
    assert len(queued(valkey, "adding")) == len(queued(valkey)) == 1


async def test_a_queue_that_the_app_does_not_know_is_refused_where_it_says_so(valkey: Valkey) -> None:
    app = celery_app(valkey.url(15), task_queues=[Queue("celery")], task_create_missing_queues=False)
    async with gateway_to(app, valkey.url()) as (gateway, _):
        with pytest.raises(BadArguments, match="option 'queue': ") as caught:
            await gateway.submit(request("tasks.add", 1, 2, options={"queue": "other"}), OPEN)
    assert caught.value.argument == "queue"
    assert journal(valkey) == []


async def test_large_arguments_are_sent_and_not_put_into_the_event(gateway: Gateway, valkey: Valkey) -> None:
    await gateway.submit(request("tasks.text", "x" * 100_000), OPEN)
    (event,), (message,) = journal(valkey), queued(valkey)
    assert event.args is UNSET
    assert bytes(event.kwargs) == b"{}"  # type: ignore[arg-type]  # it is Raw
    assert len(event.argsrepr or "") == 1024
    assert len(message["body"]) > 100_000


async def test_arguments_are_not_told_where_that_is_switched_off(app: Celery, valkey: Valkey) -> None:
    async with gateway_to(app, valkey.url(), Settings(send_args=False)) as (gateway, _):
        await gateway.submit(request("tasks.add", 1, 2), OPEN)
    (event,) = journal(valkey)
    assert (event.args, event.kwargs, event.argsrepr, event.kwargsrepr) == (UNSET, UNSET, None, None)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", BadRequest, "Input data was truncated"),
        (b"[]", BadRequest, "Expected `object`, got `array`"),
        (b"{}", BadRequest, "missing required field `task`"),
        (b'{"task": 5}', BadRequest, "Expected `str`, got `int` - at `$.task`"),
        (b'{"task": "tasks.add", "arg": []}', BadRequest, "unknown field `arg`"),
        (b'{"task": "tasks.add", "args": {}}', BadRequest, "Expected `array`, got `object` - at `$.args`"),
        (b'{"task": "tasks.add", "kwargs": []}', BadRequest, "at `$.kwargs`"),
        (b'{"task": "tasks.add", "args": [NaN, 1]}', BadRequest, "malformed"),
        (b'{"task": "tasks.add", "args": ["\\ud800"]}', BadRequest, "expected"),
        (b'{"task": "tasks.add", "args": ["\xff"]}', BadRequest, "utf-8"),
        (b'{"task": "tasks.add", "args": [' + b"1" * 6000 + b"]}", BadRequest, "out of range"),
        (b'{"task": "tasks.add", "args": ' + b"[" * 100_000, BadRequest, "too deeply"),
        (b'{"task": ""}', BadRequest, "empty"),
        (request("tasks.nothing"), UnknownTask, "no task is registered as 'tasks.nothing'"),
        (request("celery.backend_cleanup"), UnknownTask, "no task is registered as 'celery.backend_cleanup'"),
        (request("tasks.add", 1), BadArguments, "argument 'y': is required"),
        (request("tasks.add", 1, 2, z=3), BadArguments, "argument 'z': is not accepted"),
        (request("tasks.add", 1, "2"), BadArguments, "argument 'y': takes a number, not a string"),
        (request("tasks.add", 1, 2, options={"headers": {}}), BadArguments, "option 'headers': is not accepted"),
        (request("tasks.add", 1, 2, options={"serializer": "pickle"}), BadArguments, "option 'serializer'"),
        (request("tasks.add", 1, 2, options={"task_id": "a b"}), BadArguments, "option 'task_id': takes 1 to 200"),
        (request("tasks.add", 1, 2, options={"task_id": "a" * 201}), BadArguments, "option 'task_id'"),
        (request("tasks.add", 1, 2, options={"task_id": "a\n"}), BadArguments, "option 'task_id'"),
        (request("tasks.add", 1, 2, options={"queue": 5}), BadArguments, "option 'queue': takes the name"),
        (request("tasks.add", 1, 2, options={"queue": "a\0"}), BadArguments, "option 'queue'"),
        (request("tasks.add", 1, 2, options={"countdown": -1}), BadArguments, "option 'countdown': takes seconds"),
        (request("tasks.add", 1, 2, options={"countdown": True}), BadArguments, "option 'countdown'"),
        (request("tasks.add", 1, 2, options={"countdown": 1e300}), BadArguments, "'countdown': lies too far ahead"),
        (request("tasks.add", 1, 2, options={"countdown": 1e12}), BadArguments, "'eta': lies too far ahead"),
        (request("tasks.add", 1, 2, options={"eta": "soon"}), BadArguments, "option 'eta': takes a moment"),
        (request("tasks.add", 1, 2, options={"eta": 5}), BadArguments, "option 'eta'"),
        (request("tasks.add", 1, 2, options={"eta": "2030-01-01", "countdown": 1}), BadArguments, "exclude each other"),
        (request("tasks.add", 1, 2, options={"expires": []}), BadArguments, "option 'expires'"),
        (request("tasks.add", 1, 2, options={"priority": 256}), BadArguments, "option 'priority': takes a whole"),
        (request("tasks.add", 1, 2, options={"priority": 1.5}), BadArguments, "option 'priority'"),
        (request("tasks.add", 1, 2, options={"tags": "a"}), BadArguments, "option 'tags': takes a list"),
        (request("tasks.add", 1, 2, options={"tags": [""]}), BadArguments, "option 'tags': takes strings"),
        (request("tasks.add", 1, 2, options={"tags": ["a"] * 65}), BadArguments, "option 'tags'"),
        (request("tasks.stubborn"), BadArguments, "tasks.stubborn was not sent: ValueError: not today"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_refused_by_name(
    gateway: Gateway, valkey: Valkey, data: bytes, error: type[Refused], message: str
) -> None:
    logging.getLogger("watcher.relay.broker").setLevel(logging.ERROR)
    with pytest.raises(error) as caught:
        await gateway.submit(data, OPEN)
    assert message in str(caught.value)
    assert queued(valkey) == []
    assert [event.state for event in journal(valkey)] in ([], ["PENDING", "REJECTED"])


async def test_who_may_submit_what(app: Celery, valkey: Valkey) -> None:
    async with gateway_to(app, valkey.url(), Settings(submit=("tasks.a*",))) as (gateway, _):
        await gateway.submit(request("tasks.add", 1, 2), OPEN)
        with pytest.raises(NotPermitted, match=r"'tasks.sleep' may not be submitted"):
            await gateway.submit(request("tasks.sleep"), OPEN)
        with pytest.raises(NotPermitted):
            await gateway.submit(request("tasks.add", 1, 2), Grant(submit=("tasks.s*",)))
        # What one may not submit and what there is not look alike.
        with pytest.raises(NotPermitted):
            await gateway.submit(request("tasks.nothing"), OPEN)
    async with gateway_to(app, valkey.url(), Settings(read_only=True)) as (gateway, _):
        with pytest.raises(NotPermitted, match="read-only"):
            await gateway.submit(request("tasks.add", 1, 2), OPEN)
        with pytest.raises(NotPermitted, match="read-only"):
            await gateway.revoke(b'{"id": "x"}', OPEN)
        assert await gateway.registry(OPEN) == []
    assert len(queued(valkey)) == 1


async def test_without_an_app_or_with_an_eager_one_nothing_can_be_submitted(valkey: Valkey) -> None:
    async with gateway_to(None, valkey.url()) as (gateway, _):
        for call in (gateway.submit(request(), OPEN), gateway.revoke(b'{"id":"x"}', OPEN), gateway.registry(OPEN)):
            with pytest.raises(NoApp, match="without a Celery app"):
                await call
        assert await gateway.get("x") is None
    app = celery_app(valkey.url(15), task_always_eager=True)
    async with gateway_to(app, valkey.url()) as (gateway, _):
        with pytest.raises(NoApp, match="task_always_eager"):
            await gateway.submit(request("tasks.add", 1, 2), OPEN)


async def test_with_a_secret_a_token_for_the_task_comes_back(app: Celery, valkey: Valkey) -> None:
    async with gateway_to(app, valkey.url(), Settings(secret=SECRET)) as (gateway, _):
        submitted = await gateway.submit(request("tasks.add", 1, 2), Grant(subject="me", submit=("*",)))
    granted = grant(submitted.token, SECRET)
    assert granted.may_watch(f"task:{submitted.id}")
    assert not granted.may_watch("task:other")
    assert not granted.may_watch("tasks")
    assert (granted.submit, granted.revoke) == ((), False)


async def test_celery_subscribes_to_no_results(gateway: Gateway, valkey: Valkey) -> None:
    with valkey.client() as redis:
        redis.config_resetstat()
        await gateway.submit(request("tasks.add", 1, 2), OPEN)
        assert "cmdstat_lpush" in redis.info("commandstats")
        assert "cmdstat_subscribe" not in redis.info("commandstats")


async def test_an_app_with_the_plugin_announces_once(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    with relay("tasks", env={**tasks_env, "WATCHER_REDIS_URL": valkey.url()}) as running:
        async with httpx.AsyncClient(base_url=running.url) as http:
            for number in range(3):
                response = await http.post("/api/tasks", json={"task": "tasks.test", "args": [number]})
                assert response.status_code == 202
        assert running.stop() == 0  # a plugin sends at the end what it has not sent yet
    assert [event.state for event in journal(valkey)] == ["PENDING"] * 3


# Once.


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
        await gateway.submit(request("tasks.add", 1, 2, options={"task_id": "once", "queue": "x"}), OPEN)
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


async def test_a_claim_of_a_relay_that_died_is_taken_over(app: Celery, valkey: Valkey) -> None:
    data = request("tasks.add", 1, 2, options={"task_id": "orphan"})
    async with gateway_to(app, valkey.url()) as (gateway, redis):
        digest = parse(data, datetime.now().astimezone(), app.timezone).digest
        claim = Claim("orphan", True, subject_digest(""), digest)
        assert await Claims(redis, JOURNAL, guarded=False).take([claim]) == [Taken("orphan")]
        # So young, it may be under way.
        elapsed, outcome = await timed(lambda: gateway.submit(data, OPEN))
        assert isinstance(outcome, Unavailable)
        assert (outcome.submitted, elapsed < 3) == ("unknown", True)
        assert queued(valkey) == []
        await redis.pexpire(JOURNAL.claim("id:orphan"), 24 * 3600 * 1000 - 6000)
        assert (await gateway.submit(data, OPEN)).id == "orphan"
    assert [message["headers"]["id"] for message in queued(valkey)] == ["orphan"]


# Many.


async def test_thousands_at_once_are_carried_in_order_of_the_journal(gateway: Gateway, valkey: Valkey) -> None:
    found: dict[int, Submitted] = {}

    async def submit(number: int) -> None:
        found[number] = await gateway.submit(request("tasks.add", number, 0), OPEN)

    async with anyio.create_task_group() as group:
        for number in range(1000):
            group.start_soon(submit, number)
    events = journal(valkey)
    assert len(events) == len(queued(valkey)) == 1000
    assert {told.id: told.offset for told in found.values()} == {e.id: at for at, e in enumerate(events, start=1)}


async def test_more_than_can_wait_are_refused(gateway: Gateway) -> None:
    gateway._lanes._bound = 10
    outcomes: list[Any] = []

    async def submit() -> None:
        outcomes.append((await timed(lambda: gateway.submit(request("tasks.add", 1, 0), OPEN)))[1])

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(submit)
    kinds = {type(outcome) for outcome in outcomes}
    assert kinds == {Submitted, TooMany}


# Away.


async def test_nobody_at_the_brokers_port(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    app = celery_app(f"redis://127.0.0.1:{port}/15", valkey.url(14))
    data = request("tasks.add", 1, 2, options={"task_id": "late"})
    async with gateway_to(app, valkey.url()) as (gateway, _):
        elapsed, outcome = await timed(lambda: gateway.submit(data, OPEN, key="k"))
        assert isinstance(outcome, Unavailable)
        assert (outcome.submitted, outcome.temporary, outcome.code, outcome.status) == ("no", True, 100, 503)
        assert "refused" in str(outcome)
        assert elapsed < 1
        assert [(event.state, event.reason) for event in journal(valkey)] == [
            ("PENDING", None),
            ("REJECTED", "not_sent"),
        ]
        elapsed, outcome = await timed(lambda: gateway.revoke(b'{"id": "late"}', OPEN))
        assert isinstance(outcome, Unavailable)
        assert elapsed < 1
        # The broker comes back: the same request is taken.
        with valkey_server(port=port) as broker:
            assert (await gateway.submit(data, OPEN, key="k")).id == "late"
            with broker.client(15) as redis:
                assert redis.llen("celery") == 1


async def test_a_frozen_broker_is_answered_for_within_three_seconds(valkey: Valkey) -> None:
    with valkey_server() as broker:
        app = celery_app(broker.url(15))
        async with gateway_to(app, valkey.url()) as (gateway, _):
            await gateway.submit(request("tasks.add", 0, 0), OPEN)
            outcomes: list[tuple[float, Any]] = []

            async def submit(number: int) -> None:
                data = request("tasks.add", number, 1, options={"task_id": f"t{number}"})
                outcomes.append(await timed(lambda: gateway.submit(data, OPEN)))

            async def revoke() -> None:
                outcomes.append(await timed(lambda: gateway.revoke(b'{"id": "x"}', OPEN)))

            with broker.frozen():
                async with anyio.create_task_group() as group:
                    for number in range(300):
                        group.start_soon(submit, number)
                await revoke()
            assert max(elapsed for elapsed, _ in outcomes) < 3
            assert {type(outcome) for _, outcome in outcomes} == {Unavailable}
            told = [outcome.submitted for _, outcome in outcomes]
            assert set(told) == {"no", "unknown", None}
            # Those that were said not to be queued are not.
            sent = {json.loads(raw)["headers"]["id"] for raw in _all(broker)}
            rejected = {event.id for event in journal(valkey) if event.state == "REJECTED"}
            assert not sent & rejected
            # It works again.
            await gateway.submit(request("tasks.add", 5, 5, options={"task_id": "after"}), OPEN)
            assert "after" in {json.loads(raw)["headers"]["id"] for raw in _all(broker)}


def _all(broker: Valkey) -> list[bytes]:
    with broker.client(15) as redis:
        found: list[bytes] = redis.lrange("celery", 0, -1)
        return found


async def test_a_frozen_journal_is_answered_for_within_three_seconds(valkey: Valkey) -> None:
    with valkey_server() as other:
        app = celery_app(valkey.url(15))
        async with gateway_to(app, other.url()) as (gateway, _):
            await gateway.submit(request("tasks.add", 0, 0), OPEN)
            with other.frozen():
                elapsed, outcome = await timed(lambda: gateway.submit(request("tasks.add", 1, 1), OPEN))
            assert isinstance(outcome, Unavailable)
            assert (outcome.submitted, elapsed < 3) == ("no", True)
            assert len(queued(valkey)) == 1
            await gateway.submit(request("tasks.add", 2, 2), OPEN)
            other.kill()
            elapsed, outcome = await timed(lambda: gateway.submit(request("tasks.add", 1, 1), OPEN))
            assert isinstance(outcome, Unavailable)
            assert (outcome.submitted, elapsed < 3) == ("no", True)
    assert len(queued(valkey)) == 2


async def test_a_broker_that_is_full_says_no(valkey: Valkey) -> None:
    with valkey_server() as broker:
        app = celery_app(broker.url(15))
        async with gateway_to(app, valkey.url()) as (gateway, _):
            await gateway.submit(request("tasks.add", 0, 0), OPEN)
            with broker.client() as redis:
                redis.config_set("maxmemory", "1")
            _, outcome = await timed(lambda: gateway.submit(request("tasks.add", 1, 1), OPEN))
            assert isinstance(outcome, Unavailable)
            assert outcome.submitted == "no"
            assert "broker refuses" in str(outcome)
    assert journal(valkey)[-1].state == "REJECTED"


async def test_closing_waits_for_what_is_under_way_and_takes_no_more(app: Celery, valkey: Valkey) -> None:
    async with client(valkey.url()) as redis:
        gateway = Gateway(app, Settings(), JOURNAL, redis)
        await gateway.start()
        outcomes: list[Any] = []

        async def submit(number: int) -> None:
            outcomes.append((await timed(lambda: gateway.submit(request("tasks.add", number, 0), OPEN)))[1])

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(submit, number)
            await anyio.lowlevel.checkpoint()
            await gateway.aclose()
            assert len(outcomes) == 50
        assert {type(outcome) for outcome in outcomes} == {Submitted}
        with pytest.raises(Unavailable, match="stopping"):
            await gateway.submit(request("tasks.add", 1, 2), OPEN)


async def test_a_client_that_goes_away_leaves_no_half_sent_task(gateway: Gateway, valkey: Valkey) -> None:
    await gateway.start()
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(gateway.submit, request("tasks.add", number, 0), OPEN)
        while not journal(valkey):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    announced = [event.id for event in journal(valkey) if event.state == "PENDING"]
    rejected = {event.id for event in journal(valkey) if event.state == "REJECTED"}
    assert {message["headers"]["id"] for message in queued(valkey)} == set(announced) - rejected


# Revoke, registry, look-up.


async def test_revoke_ends_a_running_task(gateway: Gateway, valkey: Valkey, tasks_env: dict[str, str]) -> None:
    with worker("tasks", pool="prefork", concurrency=1, env={**tasks_env, "WATCHER_REDIS_URL": valkey.url()}):
        submitted = await gateway.submit(request("tasks.sleep", 60), OPEN)

        def states() -> list[str]:
            return [event.state for event in journal(valkey) if event.id == submitted.id]

        await eventually(lambda: "STARTED" in states(), what="the task to start")
        data = json.dumps({"id": submitted.id, "terminate": True}).encode()
        assert await gateway.revoke(data, OPEN) == {}
        await eventually(lambda: "REVOKED" in states(), what="the task to be revoked")


@pytest.mark.parametrize(
    ("data", "granted", "error", "message"),
    [
        (b'{"id": "x"}', Grant(submit=("*",)), NotPermitted, "revoke"),
        (b"{}", OPEN, BadRequest, "missing required field `id`"),
        (b'{"id": "x", "signal": "KILL"}', OPEN, BadRequest, "unknown field `signal`"),
        (b'{"id": 5}', OPEN, BadRequest, "Expected `str`"),
        (b'{"id": ""}', OPEN, BadRequest, "empty"),
        (b'{"id": "x", "terminate": 1}', OPEN, BadRequest, "Expected `bool`"),
    ],
)
async def test_what_is_wrong_with_a_revoke_is_said(
    gateway: Gateway, data: bytes, granted: Grant, error: type[Refused], message: str
) -> None:
    with pytest.raises(error, match=message):
        await gateway.revoke(data, granted)


async def test_registry_tells_what_may_be_submitted(app: Celery, valkey: Valkey) -> None:
    async with gateway_to(app, valkey.url(), Settings(submit=("tasks.[a-s]*",))) as (gateway, _):
        everything = await gateway.registry(OPEN)
        assert [task.name for task in everything] == ["tasks.add", "tasks.expiring", "tasks.sleep", "tasks.stubborn"]
        assert everything[0].signature == "(x: float, y: float) -> float"
        assert everything[0].doc == "Return the sum."
        assert [task.name for task in await gateway.registry(Grant(submit=("*.add", "celery.*")))] == ["tasks.add"]

        @app.task(name="tasks.afterwards", shared=False)
        def afterwards() -> None: ...

        assert "tasks.afterwards" in [task.name for task in await gateway.registry(OPEN)]


@pytest.fixture
def storing(app: Celery) -> Iterator[Callable[..., None]]:
    """Stores a result as a worker does."""

    def store(identity: str, value: Any, state: str, **more: Any) -> None:
        app.backend.store_result(identity, value, state, **more)

    yield store
    app.backend.client.connection_pool.disconnect()  # type: ignore[attr-defined]  # of the Redis backend


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's Redis backend calls it
async def test_look_up_in_the_result_backend(gateway: Gateway, storing: Callable[..., None]) -> None:
    storing("ok", {"when": datetime(2020, 1, 2, tzinfo=UTC)}, "SUCCESS")
    storing("bad", ValueError("no", 1), "FAILURE", traceback="Traceback …")
    storing("half", {"current": 1, "total": 2}, "PROGRESS")
    storing("big", "x" * 20_000, "SUCCESS")
    storing("nan", float("nan"), "SUCCESS")
    ok = await gateway.get("ok")
    assert ok is not None
    assert (ok.state, ok.final, ok.source, ok.offset) == ("SUCCESS", True, "backend", 0)
    assert bytes(ok.result) == b'{"when":"2020-01-02T00:00:00+00:00"}'  # type: ignore[arg-type]  # it is Raw
    bad = await gateway.get("bad")
    assert bad is not None
    assert bad.exception is not None
    assert (bad.exception.type, bad.exception.message, bad.exception.traceback) == (
        "ValueError",
        "no, 1",
        "Traceback …",
    )
    half = await gateway.get("half")
    assert half is not None
    assert (half.state, bytes(half.meta)) == ("PROGRESS", b'{"current":1,"total":2}')  # type: ignore[arg-type]  # it is Raw
    big = await gateway.get("big")
    assert big is not None
    assert (big.result_size, not big.result) == (20_002, True)
    nan = await gateway.get("nan")
    assert nan is not None
    assert (bytes(nan.result), nan.result_repr) == (b'"nan"', True)  # type: ignore[arg-type]  # it is Raw
    assert await gateway.get("unknown") is None
    assert await gateway.get("") is None


@pytest.mark.parametrize("backend", [None, "rpc://", "db+sqlite:///nowhere", "mongodb://localhost"])
async def test_a_backend_that_cannot_be_read_safely_is_not_asked(valkey: Valkey, backend: str | None) -> None:
    async with gateway_to(celery_app(valkey.url(15), backend), valkey.url()) as (gateway, _):
        assert await gateway.get("x") is None


async def test_nothing_is_ever_unpickled(valkey: Valkey) -> None:
    exploding = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x04exit\x85R."
    for serializer in ("json", "pickle"):
        app = celery_app(valkey.url(15), valkey.url(14), result_serializer=serializer)
        with valkey.client(14) as redis:
            redis.set("celery-task-meta-evil", exploding)
        async with gateway_to(app, valkey.url()) as (gateway, _):
            assert await gateway.get("evil") is None


async def test_a_frozen_result_backend_is_answered_for_within_three_seconds(valkey: Valkey) -> None:
    with valkey_server() as backend:
        app = celery_app(valkey.url(15), backend.url(14))
        async with gateway_to(app, valkey.url()) as (gateway, _):
            assert await gateway.get("x") is None
            outcomes: list[tuple[float, Any]] = []

            async def look() -> None:
                outcomes.append(await timed(lambda: gateway.get("x")))

            with backend.frozen():
                async with anyio.create_task_group() as group:
                    for _ in range(30):
                        group.start_soon(look)
                # What hangs there doesn't keep submissions.
                await gateway.submit(request("tasks.add", 1, 2), OPEN)
            assert max(elapsed for elapsed, _ in outcomes) < 3
            assert {type(outcome) for _, outcome in outcomes} == {Unavailable}
