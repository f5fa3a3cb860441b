"""The first bytes of a connection say what it is: a WebSocket's handshake, or HTTP.

uvicorn would read a handshake with its HTTP parser, put it together again and hand it to whom it is for, who reads it
once more. That was a fifth of what a connection costs until it is subscribed.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from watcher.relay.sse import Connection

__all__ = ["Opening"]

_UPGRADE: Final = b"\r\nupgrade: websocket\r\n"


class Opening(asyncio.Protocol):
    """Stands in for a connection's protocol until something has come; uvicorn makes one for each.

    A handshake that comes whole, as practically all do, goes straight to the WebSocket. All else is HTTP's, and so is a
    handshake that comes in pieces.

    :param given: uvicorn's, for whichever protocol follows.
    """

    __slots__ = ("_connections", "_given", "_transport")

    def __init__(self, **given: Any) -> None:
        self._given = given
        self._connections: set[Any] = given["server_state"].connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was accepted."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """The first bytes have come: from now on the connection is another protocol's."""
        self._connections.discard(self)
        upgrade = data.startswith(b"GET ") and data.endswith(b"\r\n\r\n") and _UPGRADE in data.lower()
        make = self._given["config"].ws_protocol_class if upgrade else Connection
        following = make(**self._given)
        following.connection_made(self._transport)
        self._transport.set_protocol(following)
        following.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone before anything came."""
        self._connections.discard(self)

    def shutdown(self) -> None:
        """The server stops; uvicorn calls this on each connection that is still there."""
        self._transport.close()
