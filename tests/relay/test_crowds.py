"""Many tasks that the history doesn't know are looked up at once: everybody is answered, and Redis is asked rarely."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import anyio
import pytest
from celery import Celery
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.relay.serving import listening
from tests.relay.support import SECRET, celery_app, request
from tests.support.client import Client
from tests.support.client import client as websocket
from tests.support.sse import reading
from tests.support.valkey import Valkey, valkey_server
from watcher.core.permissions import OPEN, issue
from watcher.core.settings import Settings
from watcher.journal._redis import PoolFull
from watcher.journal.connect_async import async_client
from watcher.relay.common.outage import unavailable
from watcher.relay.submit.stored_results import ResultLocation
from watcher.relay.websocket.handshake import PATH

pytestmark = pytest.mark.anyio

#: As many as one connection may have.
MANY = 1000


@contextmanager
def counting(valkey: Valkey) -> Iterator[dict[str, int]]:
    """How often each command is called within a `with` block, and how many connections are made."""

    def counts() -> dict[str, int]:
        with valkey.client() as redis:
            told = {name: int(each["calls"]) for name, each in redis.info("commandstats").items()}
            return told | {"connections": int(redis.info("stats")["total_connections_received"])}

    before, found = counts(), dict[str, int]()
    yield found
    found |= {name: count - before.get(name, 0) for name, count in counts().items()}


async def ask(one: Client, commands: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is answered to some commands that are sent in one frame."""
    lines = [json.dumps({"id": 1000 + number, **command}) for number, command in enumerate(commands)]
    await one.send_text("\n".join(lines))
    return [await one.answer(1000 + number) for number in range(len(commands))]


def store(app: Celery, *identities: str) -> None:
    for identity in identities:
        app.backend.store_result(identity, 5, "SUCCESS")
    app.backend.client.connection_pool.disconnect()  # type: ignore[attr-defined]  # of the Redis backend


async def taken(pool: Any) -> Any:
    """A connection that is in use."""
    return await pool.get_connection()


async def called(redis: Redis, *command: str) -> None:
    connection: Any = redis
    await connection.execute_command(*command)


def addressed(url: object) -> str:
    return str(url).replace("http", "ws", 1) + PATH


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's Redis backend calls it
@pytest.mark.parametrize("threads", [False, True])
async def test_a_thousand_subscriptions_to_tasks_that_nobody_knows(valkey: Valkey, app: Celery, threads: bool) -> None:
    store(app, "task-7", "task-900")
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(async_client(valkey.url(14)))
        results = None if threads else ResultLocation(backend, "celery-task-meta-")
        http, _ = await stack.enter_async_context(listening(valkey.url(), app, results=results))
        one = await stack.enter_async_context(websocket(addressed(http.base_url)))
        with counting(valkey) as asked:
            answers = await ask(one, [{"subscribe": {"channel": f"task:task-{number}"}} for number in range(MANY)])
        assert not [answer["error"] for answer in answers if "error" in answer]
        tasks = [answer["subscribe"].get("data", {}).get("task") for answer in answers]
        assert [number for number, task in enumerate(tasks) if task] == [7, 900]
        assert asked["cmdstat_evalsha"] <= MANY / 4, "others have their turn between two parts of the frame"
        reads = asked["cmdstat_mget"] - asked["cmdstat_evalsha"]  # the script has one of its own
        assert reads + asked.get("cmdstat_get", 0) <= MANY / 4
        assert asked["connections"] <= 20, "of them, two are the test's"


async def test_a_thousand_gets_of_tasks_that_nobody_knows(valkey: Valkey) -> None:
    app = celery_app(valkey.url(15), valkey.url(14), redis_max_connections=1)
    async with listening(valkey.url(), app) as (http, _), websocket(addressed(http.base_url)) as one:
        calls = [{"rpc": {"method": "get", "data": {"id": f"task-{number}"}}} for number in range(MANY)]
        assert [answer["rpc"]["data"]["task"] for answer in await ask(one, calls)] == [None] * MANY


async def test_reconnecting_client_may_send_all_subscriptions_at_once(valkey: Valkey, app: Celery) -> None:
    """As SDKs do, in one message: all that a connection may have, with their positions."""
    old = {"recover": True, "offset": 123456, "epoch": "1796075584593081"}
    most = Settings().max_subscriptions
    async with listening(valkey.url(), app) as (http, _), websocket(addressed(http.base_url)) as one:
        ids = [f"8617c9dc-0000-4000-8000-{number:012}" for number in range(most)]
        answers = await ask(one, [{"subscribe": {"channel": f"task:{identity}", **old}} for identity in ids])
        assert not [answer["error"] for answer in answers if "error" in answer]


async def test_many_come_back_at_once(valkey: Valkey, app: Celery) -> None:
    """Each with two old tasks, as after a relay's restart; others ask over HTTP, and for the metrics."""
    async with listening(valkey.url(), app) as (http, relay), anyio.create_task_group() as group:
        failed: list[Any] = []

        async def come_back(number: int) -> None:
            async with websocket(addressed(http.base_url)) as one:
                answers = await ask(one, [{"subscribe": {"channel": f"task:{number}-{each}"}} for each in "ab"])
                failed.extend(answer for answer in answers if "error" in answer)

        async def scrape() -> None:
            answer = await http.get("/metrics")
            failed.extend([answer.status_code] if "watcher_journal_events" not in answer.text else [])

        for number in range(60):
            group.start_soon(come_back, number)
            if number % 3 == 0:
                group.start_soon(scrape)
        for number in range(50):
            group.start_soon(relay.lookup, f"other-{number}")
    assert not failed


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's Redis backend calls it
async def test_the_tasks_of_a_stream_are_looked_up_together(valkey: Valkey, app: Celery) -> None:
    store(app, "task-7")
    async with listening(valkey.url(), app) as (http, _):
        with counting(valkey) as asked:
            async with reading(http, *(f"task:task-{number}" for number in range(100))) as reader:
                (told,) = await reader.take(1)
        assert (told.json["id"], told.json["state"]) == ("task-7", "SUCCESS")
        assert asked["cmdstat_evalsha"] <= 10


async def test_chosen_ids_are_looked_for_together(valkey: Valkey, app: Celery) -> None:
    async with listening(valkey.url(), app, Settings(secret=SECRET)) as (http, _):
        token = issue(SECRET, subject="me", submit=["*"])
        headers = {"Authorization": f"Bearer {token}"}
        codes: list[int] = []

        async def submit(number: int) -> None:
            data = request("tasks.add", 1, 2, options={"task_id": f"chosen-{number}"})
            codes.append((await http.post("/api/tasks", content=data, headers=headers)).status_code)

        with counting(valkey) as asked:
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(submit, number)
        assert codes == [202] * 50
        assert asked["connections"] <= 30


async def test_submit_has_its_own_redis_connections(valkey: Valkey, app: Celery) -> None:
    async with async_client(valkey.url()) as own, listening(valkey.url(), app, submitting=own) as (_, relay):
        pool = relay.positions._redis.connection_pool
        async with AsyncExitStack() as stack:
            for _ in range(pool.max_connections):
                stack.push_async_callback(pool.release, await taken(pool))
            assert (await relay.gateway.submit(request("tasks.add", 1, 2), OPEN)).id


async def test_a_client_whose_connections_are_all_in_use_waits_for_one(valkey: Valkey) -> None:
    async with async_client(valkey.url(), connections=2) as redis:
        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(called, redis, "SET", f"key-{number}", "1")
        assert len(await redis.keys("key-*")) == 300
        with valkey.client() as other:
            assert len([each for each in other.client_list() if each["cmd"] in ("set", "keys")]) <= 2


async def test_a_full_pool_is_never_called_a_silent_redis(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watcher.journal._redis._WAIT", 0.05)
    async with async_client(valkey.url(), connections=1) as redis:
        held = await taken(redis.connection_pool)
        with pytest.raises(RedisError) as error:
            await redis.ping()
        assert isinstance(error.value, PoolFull)
        told = str(unavailable("Redis", error.value))
        assert told == "Redis is unavailable: all the relay's connections to it are in use"
        await redis.connection_pool.release(held)
        assert await redis.ping()


async def test_cancelled_and_failed_calls_give_their_place_back() -> None:
    with valkey_server() as server:
        async with async_client(server.url(), connections=2, socket_timeout=0.2) as redis:
            for _ in range(5):
                with server.frozen(), anyio.move_on_after(0.02):
                    await redis.ping()
                with server.frozen(), pytest.raises((RedisError, OSError)):
                    await redis.ping()
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(called, redis, "PING")
