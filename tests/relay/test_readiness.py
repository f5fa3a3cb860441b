"""/readyz says no where the relay runs and Redis answers, and all the same nobody can append to the journal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.relay.serving import is_problem, listening
from tests.support.processes import free_port, program
from tests.support.redises import running
from tests.support.valkey import Valkey
from tests.support.waiting import eventually, wait_for
from watcher.core.settings import Settings
from watcher.journal.layout import Journal

pytestmark = pytest.mark.anyio


async def answers(client: httpx.AsyncClient, status: int) -> bool:
    return (await client.get("/readyz")).status_code == status


async def test_what_stands_in_the_way_of_the_journal_is_named(valkey: Valkey) -> None:
    key = Journal().closed_older
    with valkey.client() as redis:
        async with listening(valkey.url(), None, Settings()) as (client, _):
            assert await answers(client, 200)
            redis.set(key, "somebody else's")
            await eventually(partial(answers, client, 503), what="/readyz to say no")
            is_problem(await client.get("/readyz"), 503, f"Redis: {key}: WRONGTYPE")
            redis.delete(key)
            await eventually(partial(answers, client, 200), what="/readyz to say yes again")


def to_replica(redis: Redis) -> None:
    redis.replicaof("127.0.0.1", str(free_port()))  # nobody is there; it takes no writes all the same


def to_full(redis: Redis) -> None:
    redis.config_set("maxmemory", "1")


def to_lonely(redis: Redis) -> None:
    redis.config_set("min-replicas-to-write", "1")


def back(redis: Redis) -> None:
    redis.replicaof("no", "one")
    redis.config_set("maxmemory", "0")
    redis.config_set("min-replicas-to-write", "0")


NO_WRITES = [
    pytest.param(to_replica, "read-only replica", id="a replica"),
    pytest.param(to_full, "maxmemory", id="full"),
    pytest.param(to_lonely, "NOREPLICAS", id="too few replicas"),
]


@pytest.mark.parametrize("version", ["valkey", "redis-6.2"])
@pytest.mark.parametrize(("change", "why"), NO_WRITES)
async def test_a_redis_that_takes_no_writes_is_told_once(
    version: str, change: Callable[[Any], None], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running(version) as server, server.client() as redis:
        async with listening(server.url(), None, Settings()) as (client, _):
            assert await answers(client, 200)
            keys = set(redis.keys())
            change(redis)
            await eventually(partial(answers, client, 503), what="/readyz to say no")
            is_problem(await client.get("/readyz"), 503, "Redis takes no writes: ")
            assert why.lower() in (await client.get("/readyz")).json()["detail"].lower()
            back(redis)
            await eventually(partial(answers, client, 200), what="/readyz to say yes again")
            assert set(redis.keys()) == keys
    assert [text for text in caplog.messages if "appended to" in text and why.lower() in text.lower()]
    assert len([text for text in caplog.messages if "append" in text]) == 2  # that it can't, and that it can


@pytest.mark.parametrize(("change", "why"), NO_WRITES)
def test_readyz_gives_the_reason_until_the_journal_can_start(change: Callable[[Any], None], why: str) -> None:
    port = free_port()
    serve = [sys.executable, "-m", "watcher", "serve", "--port", str(port)]
    with running("valkey") as server, server.client() as redis:
        change(redis)
        with program(*serve, env={"WATCHER_REDIS_URL": server.url()}) as starting:

            def refused() -> str:
                try:
                    answer = httpx.get(f"http://127.0.0.1:{port}/readyz")
                except httpx.TransportError:
                    return ""
                assert answer.status_code == 503
                return str(answer.json()["detail"])

            told = wait_for(refused, what=f"/readyz to say no\n{starting.output}")
            assert why.lower() in told.lower()
            assert starting.stdout == ""  # where the address stands once it is ready
            assert starting.stderr.count("Redis refused access to the journal") == 1
            back(redis)
            assert starting.wait_for_output(r"(?m)^http://\S+").group() == f"http://127.0.0.1:{port}/"
            assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            assert starting.stop() == 0
            assert "Traceback" not in starting.stderr
