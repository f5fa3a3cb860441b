"""The composition root: what is made of what, and how a relay starts, drains and stops.

Everything runs in one task group. The order of the end is that of the promises: no new connections, calls under way are
finished, clients are told to go elsewhere, and only then does the feed stop.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import anyio
from celery import Celery

from watcher.core.settings import Settings
from watcher.journal.connect import FOLLOW, Target
from watcher.journal.connect_async import async_client, reach
from watcher.journal.layout import Journal
from watcher.relay.accept import ProtocolSniffer
from watcher.relay.http._uvicorn import Config, Server, config
from watcher.relay.http.routes import application
from watcher.relay.limits.open_files import make_room
from watcher.relay.node import Node
from watcher.relay.redis_advisories import danger
from watcher.relay.security.tls import Certificate
from watcher.relay.submit.stored_results import ResultLocation
from watcher.relay.websocket.connection import WebSocketConnection
from watcher.rendering.result_backend import redis_of

__all__ = ["serve", "server_config"]

logger = logging.getLogger(__name__)

#: A thread that has something to calculate lets the event loop go on after so many seconds: after each wait for the
#: network it has to ask for that, and a submission waits ten times.
_SWITCH: Final = 0.0005


async def serve(
    settings: Settings,
    *,
    app: Celery | None,
    redis: Target,
    sock: socket.socket,
    started: Callable[[], None] | None = None,
    stop: anyio.Event,
) -> None:
    """Run a relay until ``stop`` is set, then drain it.

    :param app: where tasks are submitted; None for a relay that only shows.
    :param redis: the one that holds the journal.
    :param sock: bound and listening, or only bound; closed at the end.
    :param started: called once it serves and has read the journal.
    :raises RedisUnreachable: Redis doesn't answer at the start.
    :raises SettingError: the certificate, the archive, or what is said of a Redis, can't be used.

    Cancellation ends it at once, without the drain.
    """
    settings = replace(settings, max_connections=make_room(settings.max_connections))
    sys.setswitchinterval(_SWITCH)
    journal = Journal(settings.namespace, redis.database, settings.history, settings.history_bytes)
    certificate = Certificate.of(settings)
    async with contextlib.AsyncExitStack() as exits:
        exits.enter_context(contextlib.closing(sock))
        client = await exits.enter_async_context(async_client(redis, FOLLOW))
        await reach(client, redis, journal.open)
        submitting = await exits.enter_async_context(async_client(redis))
        stored = redis_of(app) if app is not None else None
        results = None
        if stored is not None:
            backend = await exits.enter_async_context(async_client(stored.target, FOLLOW))
            results = ResultLocation(backend, stored.prefix, stored.expires)
        relay = Node(settings, journal, client, app, results, submitting=submitting)
        exits.callback(relay.archive.close)
        await relay.archive.open()
        async with anyio.create_task_group() as group:
            group.start_soon(relay.run)
            await relay.feed.tried.wait()
            _spare_the_collector()
            logger.info("serving the journal of %s, namespace %s", redis, settings.namespace)
            for warning in (redis.note, await danger(client)):
                if warning:
                    logger.warning("%s", warning)
            server = Server(server_config(relay), certificate)
            if certificate is not None:
                certificate.tell(relay.handshake_failed)
                relay.followed.append(certificate.followed)
                group.start_soon(certificate.follow)
            group.start_soon(_until, stop, relay, server)
            if started is not None:
                group.start_soon(_when_loaded, relay, started)
            await server.serve(sockets=[sock])
            group.cancel_scope.cancel()
        await relay.gateway.aclose()


def _spare_the_collector() -> None:
    """Let the garbage collector look at few objects at a time, and rarely at all of them.

    The history is many objects and no cycle: looking at all of it took a tenth of a loaded relay's time. What is
    refused leaves cycles (exceptions and their frames). With 400,000 objects between two looks at the second
    generation, freeing what a flood of submissions had left took 80 to 310 ms, in which nobody was served; in smaller
    portions the work is the same, and the longest stall was 50 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 4, 1_000)


def server_config(relay: Node) -> Config:
    """How a relay is served, for :class:`watcher.relay.http._uvicorn.Server`."""
    return config(
        application(relay),
        websocket=functools.partial(WebSocketConnection, relay.clients),
        http=functools.partial(ProtocolSniffer, relay),
        root_path=relay.settings.root_path.rstrip("/"),
        idle_timeout=relay.settings.idle_timeout,
    )


async def _when_loaded(relay: Node, started: Callable[[], None]) -> None:
    """Where Redis refuses to begin a journal, the relay serves nothing but the reason, until it takes one."""
    await relay.loaded.wait()
    started()


async def _until(stop: anyio.Event, relay: Node, server: Server) -> None:
    await stop.wait()
    for listener in server.servers:
        listener.close()
    await relay.drain()
    server.should_exit = True
