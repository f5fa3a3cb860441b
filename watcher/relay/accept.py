"""The first bytes of a connection say what it is: a WebSocket's handshake, or HTTP.

Where HTTP reads a handshake, it puts it together again and hands it to whom it is for, who reads it once more. That was
a fifth of what a connection costs until it is subscribed.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, Protocol, TypeVar, cast

from watcher.core.errors import Full, Refused, TooMany
from watcher.relay.common.addresses import remote_address
from watcher.relay.http.connection import HttpConnection, HttpServices
from watcher.relay.limits.limits import ACCOUNT, AddressUsage
from watcher.relay.websocket.connection import WebSocketConnection
from watcher.relay.websocket.handshake import Handshake, read

__all__ = ["ProtocolSniffer"]

_Following = TypeVar("_Following", bound="_Successor")
_END: Final = b"\r\n\r\n"
_UPGRADE: Final = b"\r\nupgrade: websocket\r\n"


class _Successor(Protocol):
    def connection_made(self, transport: Any) -> None: ...


class ProtocolSniffer(asyncio.Protocol):
    """Stands in for a connection's protocol until something has come; uvicorn makes one for each.

    A handshake that comes whole, as practically all do, goes straight to the WebSocket, with what follows it. All else
    is HTTP's, and so is a handshake that comes in pieces, or behind a request. Connections are counted here, and one
    that says nothing has its time.

    :param desk: what it needs of the relay.
    :param given: uvicorn's, for whichever protocol follows.
    """

    __slots__ = ("_account", "_connections", "_desk", "_options", "_transport")

    def __init__(self, desk: HttpServices, **options: Any) -> None:
        self._desk = desk
        self._options = options
        self._connections: set[Any] = options["server_state"].connections
        self._account: AddressUsage | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was accepted."""
        self._transport = cast(asyncio.Transport, transport)
        address = remote_address(self._transport)
        try:
            self._account = self._desk.limits.enter(address[0] if address else "")
        except (Full, TooMany) as error:
            self._as_http(error)
            return
        self._connections.add(self)
        self._desk.timeouts.headers.start(self, time.monotonic())

    def data_received(self, data: bytes) -> None:
        """The first bytes have come: from now on the connection is another protocol's."""
        self._desk.timeouts.headers.stop(self)
        self._connections.discard(self)
        end = data.find(_END) + len(_END)
        head, rest = data[:end], data[end:]  # who knows that it will be let in may speak at once
        if (handshake := read(head)) is not None:
            socket = self._as_websocket(handshake)
            socket.welcome(handshake)
        elif head.startswith(b"GET ") and head.endswith(_END) and _UPGRADE in head.lower():
            socket = self._as_websocket(None)
            socket.data_received(head)
        else:
            self._as_http().data_received(data)
            return
        if rest:
            socket.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone before anything came."""
        self._desk.timeouts.headers.stop(self)
        self._connections.discard(self)
        if self._account is not None:
            self._account.leave()

    def shutdown(self) -> None:
        """The server stops; uvicorn calls this on each connection that is still there."""
        self._transport.close()

    def too_slow(self, limit: str) -> None:
        """Nothing has come in time."""
        self._connections.discard(self)
        self._as_http().too_slow(limit)

    def _as_http(self, refusal: Refused | None = None) -> HttpConnection:
        return self._follow(HttpConnection(self._desk, self._account, refusal, **self._options))

    def _as_websocket(self, handshake: Handshake | None) -> WebSocketConnection:
        options = {**self._options, "app_state": {ACCOUNT: self._account}, "handshake": handshake}
        connection: WebSocketConnection = options["config"].ws_protocol_class(**options)
        return self._follow(connection)

    def _follow(self, following: _Following) -> _Following:
        following.connection_made(self._transport)
        self._transport.set_protocol(cast(asyncio.Protocol, following))
        return following
