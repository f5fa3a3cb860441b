"""Submitting, revoking and the registry: a real broker, a real journal, and where it matters a real worker."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx
import msgspec
import pytest
from celery import Celery
from kombu import Exchange, Queue
from msgspec import UNSET

from tests.relay.support import SECRET, celery_app, gateway_to, journal, queued, request
from tests.support.processes import relay, worker
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.errors import (
    BadArguments,
    BadRequest,
    NoApp,
    NotPermitted,
    Refused,
    UnknownTask,
)
from watcher.core.keyring import Keyring
from watcher.core.permissions import OPEN, Grant, grant
from watcher.core.settings import Settings
from watcher.relay.api.schemas import Registry
from watcher.relay.submit.gateway import Gateway, Submitted

pytestmark = pytest.mark.anyio


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


async def test_only_what_may_be_submitted_is_proposed(gateway: Gateway) -> None:
    with pytest.raises(UnknownTask) as raised:
        await gateway.submit(request("tasks.ad"), Grant(submit=("tasks.a*", "tasks.sleep")))
    assert "did you mean 'tasks.add'?" in str(raised.value)
    with pytest.raises(UnknownTask) as raised:
        await gateway.submit(request("tasks.slep"), Grant(submit=("tasks.slep",)))
    assert str(raised.value) == "no task 'tasks.slep' is registered"


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
    submitted = await gateway.submit(request("tasks.add", 1, 2, options=options), replace(OPEN, queues=("slow",)))
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


async def test_a_task_that_names_an_exchange_is_told_with_its_queue(valkey: Valkey) -> None:
    queues = [Queue("celery"), Queue("feeds", Exchange("feeds", type="topic"), routing_key="feed.#")]
    app = celery_app(valkey.url(15), task_queues=queues)
    sleep: Any = app.tasks["tasks.sleep"]
    sleep.exchange, sleep.routing_key = "feeds", "feed.import"
    async with gateway_to(app, valkey.url()) as (gateway, _):
        await gateway.submit(request("tasks.sleep"), OPEN)
        await gateway.submit(request("tasks.add", 1, 2, options={"queue": "feeds"}), OPEN)
    assert [event.queue for event in journal(valkey)] == ["feeds", "feeds"]


async def test_a_moment_without_a_zone_is_one_of_the_apps(valkey: Valkey) -> None:
    app = celery_app(valkey.url(15), timezone="America/New_York")
    async with gateway_to(app, valkey.url()) as (gateway, _):
        moments = {"eta": "2031-01-02T03:04:05", "expires": "2031-07-02T03:04:05"}
        await gateway.submit(request("tasks.add", 1, 2, options=moments), OPEN)
    (event,), (message,) = journal(valkey), queued(valkey)
    wanted = ("2031-01-02T03:04:05-05:00", "2031-07-02T03:04:05-04:00")
    assert (event.eta, event.expires) == wanted
    assert (message["headers"]["eta"], message["headers"]["expires"]) == wanted


async def test_unknown_queue_is_refused_if_the_app_creates_none(valkey: Valkey) -> None:
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
        (request("tasks.nothing"), UnknownTask, "no task 'tasks.nothing' is registered"),
        (request("tasks.ad"), UnknownTask, "no task 'tasks.ad' is registered; did you mean 'tasks.add'?"),
        (request("add"), UnknownTask, "did you mean 'tasks.add'?"),
        (request("celery.backend_cleanup"), UnknownTask, "no task 'celery.backend_cleanup' is registered"),
        (request("tasks.add", 1), BadArguments, "argument 'y': is required"),
        (request("tasks.add", 1, 2, z=3), BadArguments, "argument 'z': is not accepted"),
        (request("tasks.add", 1, "2"), BadArguments, "argument 'y': expected a number, not a string"),
        (request("tasks.add", 1, 2, options={"headers": {}}), BadArguments, "option 'headers': is unknown"),
        (request("tasks.add", 1, 2, options={"serializer": "pickle"}), BadArguments, "option 'serializer'"),
        (request("tasks.add", 1, 2, options={"task_id": "a b"}), BadArguments, "option 'task_id': must have 1 to 200"),
        (request("tasks.add", 1, 2, options={"task_id": "a" * 201}), BadArguments, "option 'task_id'"),
        (request("tasks.add", 1, 2, options={"task_id": "a\n"}), BadArguments, "option 'task_id'"),
        (request("tasks.add", 1, 2, options={"queue": 5}), BadArguments, "option 'queue': must be the name"),
        (request("tasks.add", 1, 2, options={"queue": "a\0"}), BadArguments, "option 'queue'"),
        (request("tasks.add", 1, 2, options={"countdown": -1}), BadArguments, "option 'countdown': must be a number"),
        (request("tasks.add", 1, 2, options={"countdown": True}), BadArguments, "option 'countdown'"),
        (request("tasks.add", 1, 2, options={"countdown": 1e300}), BadArguments, "'countdown': is too far in"),
        (request("tasks.add", 1, 2, options={"countdown": 1e12}), BadArguments, "'eta': is too far in the future"),
        (request("tasks.add", 1, 2, options={"eta": "soon"}), BadArguments, "option 'eta': must be a time"),
        (request("tasks.add", 1, 2, options={"eta": 5}), BadArguments, "option 'eta'"),
        (request("tasks.add", 1, 2, options={"eta": "2030-01-01", "countdown": 1}), BadArguments, "exclude each other"),
        (request("tasks.add", 1, 2, options={"expires": []}), BadArguments, "option 'expires'"),
        (request("tasks.add", 1, 2, options={"priority": 256}), BadArguments, "option 'priority': must be a whole"),
        (request("tasks.add", 1, 2, options={"priority": 1.5}), BadArguments, "option 'priority'"),
        (request("tasks.add", 1, 2, options={"tags": "a"}), BadArguments, "option 'tags': must be a list"),
        (request("tasks.add", 1, 2, options={"tags": [""]}), BadArguments, "option 'tags': must contain strings"),
        (request("tasks.add", 1, 2, options={"tags": ["a"] * 65}), BadArguments, "option 'tags'"),
        (request("tasks.stubborn"), BadArguments, "tasks.stubborn was not sent: ValueError: not today"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_refused_by_name(
    gateway: Gateway, valkey: Valkey, data: bytes, error: type[Refused], message: str
) -> None:
    logging.getLogger("watcher.relay.submit.broker").setLevel(logging.ERROR)
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
        assert await told(gateway, OPEN) == Registry([], revoke=False)
    assert len(queued(valkey)) == 1


async def test_submit_is_refused_without_an_app_or_with_an_eager_one(valkey: Valkey) -> None:
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
    granted = grant(submitted.token, Keyring.of(Settings(secret=SECRET)))
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


async def told(gateway: Gateway, granted: Grant) -> Registry:
    return msgspec.json.Decoder(Registry).decode(await gateway.registry(granted))


async def test_registry_tells_what_may_be_submitted(app: Celery, valkey: Valkey) -> None:
    async with gateway_to(app, valkey.url(), Settings(submit=("tasks.[a-s]*",))) as (gateway, _):
        everything = (await told(gateway, OPEN)).tasks
        assert [task.name for task in everything] == ["tasks.add", "tasks.expiring", "tasks.sleep", "tasks.stubborn"]
        assert everything[0].signature == "(x: float, y: float) -> float"
        assert everything[0].doc == "Return the sum."
        adding = await told(gateway, Grant(submit=("*.add", "celery.*")))
        assert ([task.name for task in adding.tasks], adding.revoke) == (["tasks.add"], False)
        made = await gateway.registry(OPEN)
        assert await gateway.registry(Grant("somebody else", submit=("*",), revoke=True)) is made, "made once for all"

        @app.task(name="tasks.afterwards", shared=False)
        def afterwards() -> None: ...

        assert "tasks.afterwards" in [task.name for task in (await told(gateway, OPEN)).tasks]
