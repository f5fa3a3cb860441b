"""Clients that don't read, and clients that read too little: python -m tests.faults.sluggards COUNT URL URL …

``COUNT`` of each kind, in a process of their own, so that those who are to notice nothing share none with them. When
its input ends, it says what became of those that read: one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from urllib.parse import urlsplit

import anyio
from anyio.to_thread import run_sync

#: Bytes a second of those that read.
RATE = 1024
_UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(text: bytes) -> bytes:
    """A client's short text frame, masked with zeros (RFC 6455, 5.3)."""
    return b"\x81" + bytes((0x80 | len(text),)) + bytes(4) + text


_COMMANDS = masked(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"tasks"}}')
_PONG = masked(b"{}")


class Sluggard:
    """A client that subscribes, and from then on reads ``rate`` bytes a second, and as often says that it is there.

    Dropped, it comes back.
    """

    def __init__(self, url: str, rate: int) -> None:
        self._url = urlsplit(url)
        self._rate = rate
        self.read = 0
        #: How often its connection ended, whoever ended it.
        self.dropped = 0

    async def run(self) -> None:
        """Take part until cancelled."""
        while True:
            with socket.socket() as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                raw.setblocking(False)
                with suppress(OSError):
                    await self._connect(raw)
                    while await self._read(raw):  # noqa: ASYNC110 - nothing is awaited: it is slow
                        await anyio.sleep(1)
            self.dropped += 1
            await anyio.sleep(1)

    async def _connect(self, raw: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, (self._url.hostname, self._url.port))
        await loop.sock_sendall(raw, _UPGRADE.format(path=self._url.path, host=self._url.netloc).encode())
        # Frames that come before its answer may be lost with the request (RFC 6455, 4.1: a client waits for it).
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await loop.sock_recv(raw, 1)
        await loop.sock_sendall(raw, _COMMANDS)

    async def _read(self, raw: socket.socket) -> bool:
        if not self._rate:
            return True
        loop = asyncio.get_running_loop()
        received = len(await loop.sock_recv(raw, self._rate))
        self.read += received
        await loop.sock_sendall(raw, _PONG)
        return received > 0


async def main(count: int, urls: list[str]) -> None:
    sluggards = [Sluggard(url, rate) for rate in (0, RATE) for url in (urls * count)[:count]]
    async with anyio.create_task_group() as group:
        for sluggard in sluggards:
            group.start_soon(sluggard.run)
        await run_sync(sys.stdin.read, abandon_on_cancel=True)
        group.cancel_scope.cancel()
    reading = sluggards[count:]
    told = {"unread": sum(not each.read for each in reading), "dropped": sum(each.dropped for each in reading)}
    print(json.dumps(told))  # noqa: T201 - what whoever started it waits for


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), sys.argv[2:])
