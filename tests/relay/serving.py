"""A running relay over HTTP: without a socket, and where it matters with one."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import uvicorn
from celery import Celery
from redis.asyncio import Redis
from starlette.types import ASGIApp

from tests.relay.support import JOURNAL
from tests.support.events import record
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.settings import Settings
from watcher.journal.connect_async import async_client
from watcher.journal.scripts import APPEND
from watcher.relay.http._uvicorn import Server
from watcher.relay.http.routes import application
from watcher.relay.node import Node
from watcher.relay.security.tls import Certificate
from watcher.relay.server import _until, server_config
from watcher.relay.submit.stored_results import ResultLocation

BASE = "http://localhost:5556"


@asynccontextmanager
async def serving(
    redis_url: str,
    app: Celery | None = None,
    settings: Settings | None = None,
    submitting: Redis | None = None,
    results: ResultLocation | None = None,
) -> AsyncIterator[tuple[httpx.AsyncClient, Node]]:
    """A running relay, and a client to it that needs no socket.

    :param submitting: what it submits with, in place of what it uses for all else.
    :param results: where the app keeps its results; None: it is read in threads, and there is no safety net.
    """
    redis = async_client(redis_url)
    relay = Node(settings or Settings(), JOURNAL, redis, app, results, submitting=submitting)
    transport = httpx.ASGITransport(application(relay), raise_app_exceptions=False)
    try:
        async with anyio.create_task_group() as group, httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            group.start_soon(relay.run)
            await relay.loaded.wait()
            try:
                yield client, relay
            finally:
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await relay.gateway.aclose()
    finally:  # only now, since a lease is given back at the end
        with anyio.CancelScope(shield=True):
            await redis.aclose()


@asynccontextmanager
async def listening(
    redis_url: str,
    app: Celery | None = None,
    settings: Settings | None = None,
    routes: Callable[[Node], ASGIApp] | None = None,
    *,
    handshake: float = 10.0,
    submitting: Redis | None = None,
    results: ResultLocation | None = None,
) -> AsyncIterator[tuple[httpx.AsyncClient, Node]]:
    """The same at a port of its own, drained at the end as `serve` does it.

    :param routes: what is served instead of everything.
    :param handshake: seconds that a client has for that of TLS, where the settings name a certificate.
    """
    async with serving(redis_url, app, settings, submitting, results) as (_, relay):
        config = server_config(relay)
        if routes is not None:
            config = uvicorn.Config(routes(relay), http=config.http, lifespan="off", log_config=None, access_log=False)
        certificate = Certificate.of(relay.settings)
        if certificate is not None:
            certificate.tell(relay.handshake_failed)
        server, stop = Server(config, certificate, handshake), anyio.Event()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            base = f"{'http' if certificate is None else 'https'}://127.0.0.1:{sock.getsockname()[1]}"
            async with anyio.create_task_group() as group:
                group.start_soon(server.serve, [sock])
                group.start_soon(_until, stop, relay, server)
                await eventually(lambda: server.started, what="the server to listen")
                trusted = True if certificate is None else ssl.create_default_context(cafile=relay.settings.tls_cert)
                async with httpx.AsyncClient(base_url=base, timeout=30, verify=trusted) as client:
                    try:
                        yield client, relay
                    finally:
                        stop.set()


def append(valkey: Valkey, *events: Any) -> None:
    """Write events into the journal as a worker does."""
    with valkey.client() as redis:
        keys, arguments = JOURNAL.append(f"writer-{events[0].id}-{events[0].timestamp}", 1, list(map(record, events)))
        redis.register_script(APPEND)(keys, arguments)


async def known(relay: Node, identity: str, state: str) -> None:
    def is_so() -> bool:
        task = relay.hub.history.task(identity)
        return task is not None and task.state == state

    await eventually(is_so, what=f"the relay to know {identity} as {state}")


def is_problem(response: httpx.Response, status: int, detail: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:celery-watcher:")
    assert detail in body["detail"]
    assert "nosniff" in response.headers["x-content-type-options"]
    return body
