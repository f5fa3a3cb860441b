"""The WebSocket clients of one relay: who is let in, who is there, and whose time has come.

What holds: a client is in the registry, in one ping slot, and among those that have yet to say who they are, from
:meth:`Clients.opened` until :meth:`Clients.closed` (it leaves the last as soon as it is due). All of it is the event
loop's; nothing waits between a look and the change that follows from it.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint

from watcher.core.permissions import Grant
from watcher.core.settings import Settings
from watcher.relay.client_calls import ClientCalls
from watcher.relay.common.addresses import remote_address
from watcher.relay.common.audit_log import AuditLog
from watcher.relay.common.stats import Stats
from watcher.relay.limits.limits import Deadlines
from watcher.relay.security.forwarded import Lines, Peer, peer
from watcher.relay.security.identity import Person, person
from watcher.relay.security.origins import refusal, unbelieved
from watcher.relay.security.token_expiry import TokenExpiries
from watcher.relay.stream.hub import Hub
from watcher.relay.websocket.connection import WebSocketConnection
from watcher.relay.websocket.records import Call, SessionConfig

__all__ = ["Clients"]

#: After so many clients that are told what has become of their rights, the others have their turn.
_AT_ONCE: Final = 100
#: So many clients are asked to leave at once, ten times a second, so that they don't all arrive elsewhere together.
_LEAVE_AT_ONCE: Final = 250


class Clients:
    """All that a WebSocket needs of the relay: a :class:`watcher.relay.websocket.connection.SocketServices`.

    :param terms: what their sessions share; it says how many seconds lie between two pings.
    :param admit: the permissions of a person whom a proxy names.
    """

    def __init__(
        self,
        settings: Settings,
        hub: Hub[Any],
        terms: SessionConfig,
        calls: ClientCalls,
        *,
        counts: Stats,
        refusals: AuditLog,
        admit: Callable[[str | None, Person | None], Grant],
    ) -> None:
        self.hub = hub
        self.terms = terms
        self.counts = counts
        #: Whether any more are taken.
        self.open = True
        self._settings = settings
        self._calls = calls
        self._refusals = refusals
        self._admit = admit
        self._sockets: set[WebSocketConnection] = set()
        slots: list[set[WebSocketConnection]] = [set() for _ in range(terms.ping)]
        self._slots = slots
        self._next_to_fill, self._next_to_ping = itertools.cycle(slots), itertools.cycle(slots)
        self._silent = Deadlines[WebSocketConnection](settings.connect_timeout)  # those that have yet to say `connect`
        self._expiries = TokenExpiries[WebSocketConnection]()

    def __iter__(self) -> Iterator[WebSocketConnection]:
        return iter(self._sockets)

    def __len__(self) -> int:
        return len(self._sockets)

    def others(self, subscribers: set[Any]) -> set[Any]:
        """Those of ``subscribers`` that are no WebSockets, but requests that wait."""
        return subscribers - self._sockets

    # Who is let in.

    def peer(self, transport: asyncio.Transport, lines: Lines) -> Peer:
        """Who sends a request; as :func:`watcher.relay.security.forwarded.peer`."""
        connection = remote_address(transport)
        return peer(connection[0] if connection else None, lines, self._settings.trusted_proxies)

    def named(self, peer: Peer, lines: Lines) -> Callable[[], Grant] | None:
        """What whoever a trusted proxy names may do; None where none does."""
        user = person(self._settings, peer, lines)
        return None if user is None else functools.partial(self._admit, None, user)

    def refusal(self, peer: Peer, lines: Lines) -> str | None:
        """Why a handshake of this peer is refused, or None; the log learns it, too."""
        why = refusal(self._settings, peer, lines)
        if (unbelievable := unbelieved(self._settings, peer, lines)) is not None:
            self._refusals.tell(peer.name, "a user name in a header", unbelievable)
        if why is not None:
            self.counts.refused["handshake"] += 1
            self._refusals.tell(peer.name, "a WebSocket handshake", why)
        return why

    # Who is there.

    def opened(self, socket: WebSocketConnection) -> bool:
        """A client has come; False where it can't stay."""
        if not self.open:
            return False
        self._sockets.add(socket)
        next(self._next_to_fill).add(socket)
        self._silent.start(socket, time.monotonic())
        return True

    def closed(self, socket: WebSocketConnection) -> None:
        """A client has gone."""
        self._sockets.discard(socket)
        self._silent.stop(socket)
        self._expiries.drop(socket)
        for slot in self._slots:
            slot.discard(socket)

    def expires(self, socket: WebSocketConnection, moment: float | None) -> None:
        """A token of the client's ends at this Unix time; None: no token does."""
        self._expiries.put(socket, moment)

    def call(self, socket: WebSocketConnection, call: Call) -> None:
        """Carry out a client's call beside everything else."""
        self._calls.begin(socket, call)

    def tell(self, news: dict[str, Any]) -> None:
        """Tell everyone."""
        for client in self._sockets:
            client.tell(news)

    # Whose time has come.

    async def tick(self) -> None:
        """To be called each second: end what tokens granted, and ping those whose turn it is."""
        now, unix = anyio.current_time(), time.time()
        for count, client in enumerate(self._expiries.due(unix), 1):
            client.expire(unix)
            if count % _AT_ONCE == 0:
                await checkpoint()
        for client in list(next(self._next_to_ping)):
            client.tick(now)

    def end_silent(self, now: float) -> bool:
        """End some that have not said in time who they are; returns whether there were any."""
        silent = self._silent.due(now)
        for client in silent:
            client.close_if_silent()
        return bool(silent)

    async def reconsider(self) -> None:
        """People may do something else from now on."""
        clients = list(self._sockets)
        while clients:
            for client in clients[:_AT_ONCE]:
                client.reconsider()
            del clients[:_AT_ONCE]
            await checkpoint()

    async def leave(self) -> None:
        """Ask all to leave, some at a time."""
        while leaving := list(self._sockets)[:_LEAVE_AT_ONCE]:
            for client in leaving:
                client.shutdown()
                self.closed(client)
            await anyio.sleep(0.1)
