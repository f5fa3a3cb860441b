"""What the result backend knows of tasks that the history doesn't know."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from celery import Celery
from celery.backends import base

from tests.relay.support import celery_app, gateway_to, request, timed
from tests.support.valkey import Valkey, valkey_server
from watcher.core.errors import (
    Unavailable,
)
from watcher.core.permissions import OPEN
from watcher.relay.submit.gateway import Gateway

pytestmark = pytest.mark.anyio


@pytest.fixture
def storing(app: Celery) -> Iterator[Callable[..., None]]:
    """Stores a result as a worker does."""

    def store(identity: str, value: Any, state: str, **more: Any) -> None:
        app.backend.store_result(identity, value, state, **more)

    yield store
    app.backend.client.connection_pool.disconnect()  # type: ignore[attr-defined]  # of the Redis backend


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


COMPRESSED: bytes = getattr(base, "COMPRESSED_PAYLOAD_MAGIC", b"")
STORED = b'{"status":"SUCCESS","result":%s,"task_id":"x"}'


@pytest.mark.skipif(not COMPRESSED, reason="results are compressed since Celery 5.7")
async def test_a_compressed_result_is_read(app: Celery, valkey: Valkey) -> None:
    app.conf.result_compression = "gzip"
    with valkey.client(14) as redis:
        async with gateway_to(app, valkey.url()) as (gateway, _):
            for kind in ("gzip", "bzip2", "lzma"):
                redis.set(
                    f"celery-task-meta-{kind}",
                    base.compress_payload(  # type: ignore[attr-defined]  # since 5.7
                        STORED % b'"told"', kind
                    ),
                )
                task = await gateway.get(kind)
                assert task is not None
                assert (task.state, bytes(task.result)) == ("SUCCESS", b'"told"')  # type: ignore[arg-type]  # it is Raw
                assert await gateway.result(kind, None) == b'"told"'


@pytest.mark.skipif(not COMPRESSED, reason="results are compressed since Celery 5.7")
@pytest.mark.parametrize(
    "payload",
    [
        COMPRESSED + b"application/x-gzip\0" + zlib.compress(STORED % (b'"%s"' % (b"x" * 70_000_000)), 1),
        COMPRESSED + b"application/x-gzip\0" + zlib.compress(STORED % b"1")[:-5],
        COMPRESSED + b"application/x-gzip\0nonsense",
        COMPRESSED + b"application/x-lzma\0nonsense",
        COMPRESSED + b"application/x-bz2\0nonsense",
        COMPRESSED + b"\xff\0nonsense",
        COMPRESSED,
    ],
    ids=lambda payload: f"{len(payload)}",
)
async def test_what_is_compressed_badly_or_too_well_is_not_read(app: Celery, valkey: Valkey, payload: bytes) -> None:
    with valkey.client(14) as redis:
        redis.set("celery-task-meta-bomb", payload)
        async with gateway_to(app, valkey.url()) as (gateway, _):
            assert await gateway.get("bomb") is None
            assert await gateway.result("bomb", None) is None


async def test_get_fails_within_3_seconds_on_a_frozen_result_backend(valkey: Valkey) -> None:
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
