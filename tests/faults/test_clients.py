"""Clients that don't read, and clients that read too little, among others that do."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from urllib.parse import urlsplit

import anyio
import pytest

from tests.faults.size import LONG, Size, sized
from tests.faults.stage import Stage, resident, staged
from tests.faults.verdict import ended, nothing_lost, told
from tests.support.valkey import valkey_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

#: So many of each kind.
SLOW = 200 if LONG else 20
#: Bytes of a result. They fill what the operating system buffers for a connection, and then the relay's own bound.
BLOB = 15_000
#: The relay's bound of what it keeps for one client, in bytes (contract), and what its history may hold.
CLIENT = 1024 * 1024
HISTORY = 8 * 1024 * 1024
#: A p99 below this, in seconds, is the noise of the machine; beside other tests that is much.
FLOOR = 0.04 if LONG else 0.5

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


def p99(stage: Stage) -> float:
    """Of all delays since the last call, in seconds."""
    delays = sorted(delay for watcher in stage.watchers for delay in watcher.delays)
    for watcher in stage.watchers:
        watcher.delays.clear()
    return delays[int(len(delays) * 0.99)]


async def flow(stage: Stage) -> float:
    """Send tasks with large results, wait until they are told, and return the watchers' p99."""
    identities = [stage.order("blob", BLOB) for _ in range(stage.size.tasks)]
    await stage.send(stage.size.seconds)
    await told(stage, await ended(stage, identities))
    return p99(stage)


@sized(Size(tasks=300, seconds=2), Size(tasks=2000, seconds=25))
async def test_slow_clients_cost_only_themselves(size: Size) -> None:
    with valkey_server() as server:
        bound = {"WATCHER_HISTORY_BYTES": str(HISTORY)}
        async with staged("slow clients", size, server, relay_env=bound) as stage:
            before = await flow(stage)
            memory = [resident(running.pid) for running in stage.relays]
            async with anyio.create_task_group() as group:
                urls = [running.ws_url for running in stage.relays] * SLOW
                sluggards = [Sluggard(url, rate) for rate in (0, 1024) for url in urls[:SLOW]]
                for sluggard in sluggards:
                    group.start_soon(sluggard.run)
                after = await flow(stage)
                for running, was in zip(stage.relays, memory, strict=True):
                    assert resident(running.pid) - was < CLIENT * len(sluggards) / len(stage.relays)
                reading = sluggards[SLOW:]
                assert all(sluggard.read for sluggard in reading)
                assert not any(sluggard.dropped for sluggard in reading), "who still reads is never dropped"
                group.cancel_scope.cancel()
            assert after < max(2 * before, FLOOR), f"p99 {after * 1000:.1f} ms, without them {before * 1000:.1f} ms"
            await nothing_lost(stage)
