"""What a WebSocket's connection needs of the relay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from watcher.core.permissions import Grant
from watcher.relay.common.stats import Stats
from watcher.relay.security.forwarded import Lines, Peer
from watcher.relay.stream.hub import Hub
from watcher.relay.websocket.records import Call, SessionConfig

if TYPE_CHECKING:
    from watcher.relay.websocket.connection import WebSocketConnection

__all__ = ["SocketServices"]


class SocketServices(Protocol):
    """What a socket needs of the relay."""

    hub: Hub[Any]
    terms: SessionConfig
    counts: Stats

    def peer(self, transport: asyncio.Transport, lines: Lines) -> Peer:
        """Who sends a request, by the address of the connection and the request's headers."""

    def refusal(self, peer: Peer, lines: Lines) -> str | None:
        """Why a handshake of this peer is refused, or None; the log learns it, too."""

    def named(self, peer: Peer, lines: Lines) -> Callable[[], Grant] | None:
        """What whoever a trusted proxy names may do; None where none does. Not asked where it is refused."""

    def opened(self, socket: WebSocketConnection) -> bool:
        """A connection is open; False where no more are taken."""

    def closed(self, socket: WebSocketConnection) -> None:
        """It is gone."""

    def call(self, socket: WebSocketConnection, call: Call) -> None:
        """Carry out ``call`` elsewhere, then :meth:`WebSocketConnection.answer`."""

    def expires(self, socket: WebSocketConnection, moment: float | None) -> None:
        """Call :meth:`WebSocketConnection.expire` at this Unix time, in place of any other; None: not at all."""
