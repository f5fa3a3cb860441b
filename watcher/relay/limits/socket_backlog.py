"""How much of what a client was sent it has not taken yet, and for how long it has taken nothing."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
from typing import Final

import anyio

__all__ = ["SocketProgress", "acknowledged", "waiting"]

#: Offset of tcpi_bytes_acked in the kernel's struct tcp_info (linux/tcp.h).
_ACKED: Final = slice(120, 128)


def waiting(transport: asyncio.Transport) -> int:
    """Bytes that the client has not taken: those in the transport, and in the kernel if it tells."""
    buffered = transport.get_write_buffer_size()
    try:
        # Bytes of the socket's buffer that were not acknowledged yet (Linux: SIOCOUTQ, tcp(7)).
        unsent = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (OSError, AttributeError, ValueError):
        return buffered
    return buffered + int.from_bytes(unsent, sys.byteorder)


def acknowledged(transport: asyncio.Transport) -> int:
    """Bytes that the client's side has acknowledged so far, if the kernel tells (Linux); else 0.

    Under TLS there is another buffer between transport and kernel; while it drains, neither of the others may change.
    """
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.stop)
    except (OSError, AttributeError, ValueError):
        return 0
    return int.from_bytes(info[_ACKED], sys.byteorder)


class SocketProgress:
    """Tracks whether a client takes anything of what it is sent.

    :param transport: to the client; None if unknown, and then a client that makes a write wait counts as stalled.
    """

    __slots__ = ("_acknowledged", "_sent", "_since", "_taken", "_transport")

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport
        self._sent = 0
        self._taken = 0
        self._acknowledged = 0
        self._since = anyio.current_time()

    def sent(self, size: int) -> None:
        """Count bytes that were handed to the transport."""
        self._sent += size
        if self._transport is None:
            self._since = anyio.current_time()

    def stalled(self) -> float:
        """Seconds for which the client has taken nothing, as far as checked; 0 if it has taken everything."""
        now = anyio.current_time()
        if self._transport is not None:
            left, acked = waiting(self._transport), acknowledged(self._transport)
            if not left or self._sent - left > self._taken or acked > self._acknowledged:
                self._taken = max(self._taken, self._sent - left)
                self._acknowledged = acked
                self._since = now
        return now - self._since

    async def abort(self) -> None:
        """Cut the connection, and wait until its reader has noticed; without a transport, return at once."""
        if self._transport is not None:
            self._transport.abort()
            await anyio.sleep_forever()
