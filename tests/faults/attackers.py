"""Hostile clients, all from one address: python -m tests.faults.attackers PORT SLOW FLOODS, a process of its own.

``SLOW`` never finish what they begin: headers, a body, a handshake. ``FLOODS`` say as much as is taken of them: pings,
subscriptions, requests. Each comes back when it is dropped. When the input ends, it says what became of them: one line
of JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import socket
import sys
from contextlib import suppress

import anyio
from anyio.to_thread import run_sync

from tests.faults.sluggards import masked

#: Where they come from: loopback is all of 127.0.0.0/8.
ADDRESS = "127.0.0.66"
#: Seconds between two bytes of a slow one: often enough for a time-out that begins anew with each.
_PAUSE = 0.5
_UPGRADE = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_CONNECT = masked(b'{"id":1,"connect":{}}')
_BODY = b"POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
#: How the slow ones begin.
_BEGINNINGS = (b"GET / HTTP/1.1\r\nX: ", _BODY, _UPGRADE + b"X: ", b"")
_SUBSCRIBE = b'{"id":2,"subscribe":{"channel":"tasks"}}\n{"id":3,"unsubscribe":{"channel":"tasks"}}'
_HISTORY = b'{"id":2,"history":{"channel":"tasks","limit":-1}}'
#: What the others say, and say again; those with an upgrade on a WebSocket.
_FLOODS = (
    (_UPGRADE + b"\r\n", b"\x89\x84" + bytes(4) + b"ping"),
    (_UPGRADE + b"\r\n", masked(_SUBSCRIBE)),
    (_UPGRADE + b"\r\n", masked(_HISTORY)),
    (b"", b"GET /api/tasks?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
)


class Attackers:
    """All of them; ``attempts`` and ``dropped`` say how often one came, and was thrown out."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.attempts = 0
        self.dropped = 0
        self.said = 0

    async def slow(self, beginning: bytes) -> None:
        """Trickle, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as raw, suppress(OSError):
                await self._arrive(raw, beginning)
                while True:
                    with anyio.move_on_after(_PAUSE):
                        if not await loop.sock_recv(raw, 4096):
                            break
                    await loop.sock_sendall(raw, b"x")
            self.dropped += 1
            await anyio.sleep(_PAUSE)

    async def flood(self, beginning: bytes, text: bytes) -> None:
        """Say something again and again, until cancelled; the answers are read."""
        loop, many = asyncio.get_running_loop(), text * (1 + 16384 // len(text))
        while True:
            with socket.socket() as raw, suppress(OSError):
                await self._arrive(raw, beginning)
                if beginning:
                    await loop.sock_recv(raw, 4096)
                    await loop.sock_sendall(raw, _CONNECT)
                async with anyio.create_task_group() as group:
                    group.start_soon(self._read, raw, group.cancel_scope)
                    with suppress(OSError):
                        while True:
                            await loop.sock_sendall(raw, many)
                            self.said += len(many) // len(text)
                    group.cancel_scope.cancel()
            self.dropped += 1
            await anyio.sleep(_PAUSE)

    async def _arrive(self, raw: socket.socket, beginning: bytes) -> None:
        raw.setblocking(False)
        raw.bind((ADDRESS, 0))
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self._port))
        self.attempts += 1
        await asyncio.get_running_loop().sock_sendall(raw, beginning)

    async def _read(self, raw: socket.socket, scope: anyio.CancelScope) -> None:
        with suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(raw, 1 << 20):
                pass
        scope.cancel()


async def main(port: int, slow: int, floods: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    attackers = Attackers(port)
    async with anyio.create_task_group() as group:
        for beginning in itertools.islice(itertools.cycle(_BEGINNINGS), slow):
            group.start_soon(attackers.slow, beginning)
        for beginning, text in itertools.islice(itertools.cycle(_FLOODS), floods):
            group.start_soon(attackers.flood, beginning, text)
        await run_sync(sys.stdin.read, abandon_on_cancel=True)
        group.cancel_scope.cancel()
    told = {"attempts": attackers.attempts, "dropped": attackers.dropped, "said": attackers.said}
    print(json.dumps(told))  # noqa: T201 - what whoever started it waits for


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
