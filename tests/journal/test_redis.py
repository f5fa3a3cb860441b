"""What is used of redis-py behind its documented names: what a release lacks is told by name."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest
from redis.asyncio import Connection, Redis

from tests.support.valkey import Valkey
from watcher.journal import _redis

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("path", "member"), _redis.MEMBERS)
async def test_redis_py_has(path: str, member: str) -> None:
    module, _, name = path.partition(":")
    kind: Any = getattr(import_module(module), name)
    made = Redis().pubsub() if name == "PubSub" else kind()
    assert hasattr(made, member), f"{path} has no {member}"


async def test_redis_py_takes_commands_that_it_does_not_read_the_answers_of() -> None:
    assert "check_health" in str(inspect.getsource(Connection.send_command))


async def test_redis_py_has_the_transport_of_a_connection_that_is_open(valkey: Valkey) -> None:
    async with Redis.from_url(valkey.url()) as redis:
        connection: Any = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
        assert _redis.transport_of(connection) is None
        await connection.connect()
        try:
            transport = _redis.transport_of(connection)
            assert transport is not None
            assert not transport.is_closing()
        finally:
            await connection.disconnect(nowait=True)


async def test_where_redis_py_has_no_stream_there_is_no_transport() -> None:
    assert _redis.transport_of(object()) is None
