"""The way out of a connection whose bytes go straight to the kernel where nothing waits before them.

A transport's ``write`` does the same after a look at its own books, in memory that each of many connections has
elsewhere: with it a fan-out to 1,000 clients takes 7 % more of a processor's time (docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["DirectOutlet", "DirectWriter", "half_close"]


def half_close(transport: asyncio.Transport) -> bool:
    """Send nothing more, and go on reading; False where a transport can't, as under TLS."""
    if not transport.can_write_eof():
        return False
    with contextlib.suppress(OSError):  # asyncio's own says so where the other side has gone meanwhile
        transport.write_eof()
    return True


#: Sockets that share the file of a transport's. One that is forgotten closes it, though it may be another's by then: as
#: where an event loop ends before it has told of the end of its connections. So none is before it lets go of the file.
_shared: Final[set[socket.socket]] = set()


#: Sends bytes of data to the kernel, and returns how many it has taken; None where there is another way only.
StraightWay: TypeAlias = Callable[[bytes], int] | None


class DirectWriter:
    """Bytes out, in order; data among them only while :meth:`let_data` says so, and not at first.

    Each call returns the straight way as it is then, which holds until the next: whoever takes it hands what the kernel
    didn't take to :meth:`queue`.

    :param transport: where they go.
    :param high: once so many bytes wait, the transport's protocol is told to pause.
    """

    __slots__ = ("_queued", "_socket", "_transport", "open")

    def __init__(self, transport: asyncio.Transport, high: int) -> None:
        transport.set_write_buffer_limits(high=high)
        self._transport = transport
        transport_socket = transport.get_extra_info("socket")
        self._socket: socket.socket | None = None
        if transport_socket is not None and transport.get_extra_info("sslcontext") is None:
            # The transport's own, which it closes after connection_lost(). Its wrapper can't send.
            self._socket = socket.socket(
                transport_socket.family, transport_socket.type, transport_socket.proto, fileno=transport_socket.fileno()
            )
            _shared.add(self._socket)
            self._socket.setblocking(False)  # an app may have set a default time-out, for which send() would wait
        self._queued = False  # whether something may wait in the transport
        #: Whether data may be sent.
        self.open = False

    def close(self) -> StraightWay:
        """The connection is gone, whoever ended it: its file is closed next, and may be another's then."""
        if self._socket is not None:
            _shared.discard(self._socket)
            self._socket.detach()
            self._socket = None
        return self.let_data(False)

    def let_data(self, open: bool) -> StraightWay:  # noqa: A002 - says it best
        """Whether data may be sent from now on."""
        self.open = open
        return self._socket.send if open and not self._queued and self._socket is not None else None

    def send(self, data: bytes) -> StraightWay:
        """Send ``data``, whatever it is, after all that was sent before; nothing where the connection is closing."""
        if self._transport.is_closing():
            return None
        if self._queued and not self._transport.get_write_buffer_size():
            self._queued = False
        if not self._queued and self._socket is not None:
            try:
                sent = self._socket.send(data)
            except OSError:
                sent = 0
            if sent == len(data):
                return self._socket.send if self.open else None
            data = data[sent:]
        return self.queue(data)

    def queue(self, data: bytes) -> StraightWay:
        """Send what the kernel has no room for: the transport does, and what follows waits until it has."""
        self._queued = True
        if not self._transport.is_closing():
            self._transport.write(data)
        return None


class DirectOutlet:
    """What a fan-out hands data to: a connection, by the straight way where there is one.

    A fan-out calls :meth:`deliver` a thousand times, and the kernel leaves nothing in the processor's caches in
    between. So it looks at as little as possible: slots of a base class lie first in an object, in the same cache line
    as its type.
    """

    __slots__ = ("_straight", "_writer")

    _straight: StraightWay
    _writer: DirectWriter

    def deliver(self, data: bytes) -> int:
        """Send ``data``, unless none may be sent; returns 1, for the one write that it takes."""
        send = self._straight
        if send is None:
            if self._writer.open:
                self._straight = self._writer.send(data)
            return 1
        try:
            sent = send(data)
        except OSError:
            sent = 0  # the transport will find it too, and what follows from it
        if sent != len(data):
            self._straight = self._writer.queue(data[sent:])
        return 1
