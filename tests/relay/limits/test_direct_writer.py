"""Bytes that leave a connection at once, and those that can't."""

from __future__ import annotations

import asyncio
import gc
import random
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream

from tests.support.certificates import Authority
from tests.support.waiting import eventually
from watcher.relay.limits.direct_writer import DirectWriter
from watcher.relay.security.tls import Certificate
from watcher.relay.websocket.connection import WebSocketConnection

pytestmark = pytest.mark.anyio

_HIGH = 64 * 1024


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class End(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self) -> None:
        self.paused = self.lost = False
        self.made = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._writer = DirectWriter(self.transport, high=_HIGH)
        self._straight = self._writer.let_data(True)
        self.made.set()

    def say(self, data: bytes, way: str) -> None:
        """Send data as a fan-out does, or what else there is to say."""
        if way == "deliver":
            self.deliver(data)
        else:
            self.send(data)

    def deliver(self, data: bytes) -> None:
        """As a connection does it."""
        WebSocketConnection.deliver(cast(Any, self), data)

    def send(self, data: bytes) -> None:
        self._straight = self._writer.send(data)

    def let_data(self, let: bool) -> None:
        self._straight = self._writer.let_data(let)

    def connection_lost(self, exc: Exception | None) -> None:
        self._straight = self._writer.close()
        self.lost = True

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False


@asynccontextmanager
async def serving(end: End, **tls: Any) -> AsyncIterator[tuple[str, int]]:
    """Where to connect to it."""
    server = await asyncio.get_running_loop().create_server(lambda: end, "127.0.0.1", 0, **tls)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        if end.made.is_set():
            end.transport.abort()


@pytest.mark.parametrize("way", ["deliver", "send"])
async def test_what_waits_in_the_transport_goes_first(way: str) -> None:
    end, expected = End(), bytearray()
    async with serving(end) as address:
        with sockets.create_connection(address, timeout=10) as client:
            await end.made.wait()
            while not end.transport.get_write_buffer_size():
                end.say(piece := bytes((len(expected) % 251,)) * 100_000, way)
                expected += piece
            got = client.recv(50_000_000)  # now the kernel has room, of which the transport doesn't know yet
            end.say(b"last", way)
            end.transport.write_eof()
            got += await anyio.to_thread.run_sync(rest, client)
    assert got == bytes(expected) + b"last"


def rest(client: sockets.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1_000_000), b""))


async def test_nothing_is_lost_or_out_of_order_whatever_the_client_takes() -> None:
    end, randomness = End(), random.Random(7)
    pieces = [randomness.randbytes(randomness.choice((1, 300, 20_000, 500_000))) for _ in range(60)]
    async with serving(end) as address:
        stream = await anyio.connect_tcp(*address)
        await end.made.wait()
        got = bytearray()
        async with stream:
            for piece in pieces:
                end.say(piece, randomness.choice(("deliver", "deliver", "send")))
                if end.paused:  # as a relay does: the client is sent nothing until it has taken some
                    while end.paused:
                        got += await stream.receive(randomness.choice((100, 50_000)))
                elif randomness.random() < 0.5:
                    got += await stream.receive()
            with anyio.fail_after(30):
                while len(got) < sum(map(len, pieces)):
                    got += await stream.receive()
    assert bytes(got) == b"".join(pieces)


async def test_a_client_that_takes_nothing_is_told_of() -> None:
    end = End()
    async with serving(end) as address:
        with sockets.create_connection(address):
            await end.made.wait()
            for _ in range(1000):
                end.send(b"x" * 20_000)
                if end.paused:
                    break
            assert end.paused
            assert _HIGH < end.transport.get_write_buffer_size() < _HIGH + 20_001


async def test_writer_never_blocks_despite_a_default_socket_timeout() -> None:
    end = End()
    async with serving(end) as address:
        with sockets.create_connection(address):
            sockets.setdefaulttimeout(3)
            try:
                await end.made.wait()
            finally:
                sockets.setdefaulttimeout(None)
            assert end._writer._socket is not None
            assert end._writer._socket.gettimeout() == 0
            with anyio.fail_after(2):
                while not end.paused:
                    end.deliver(b"x" * 20_000)
                    await checkpoint()


async def test_a_client_that_has_gone_ends_the_connection() -> None:
    end = End()
    async with serving(end) as address:
        with sockets.create_connection(address) as client:
            await end.made.wait()
            client.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # it leaves by a reset
        end.send(b"x")
        end.send(b"x")
        await eventually(lambda: end.lost, what="the end of the connection")
        end.send(b"x")  # not to whoever has the file's number now


async def test_under_tls_all_goes_through_it(tmp_path: Path) -> None:
    authority, end = Authority(tmp_path), End()
    certificate = Certificate.of(authority.settings())
    assert certificate is not None
    async with serving(end, ssl=certificate.context) as address:
        plain = await anyio.connect_tcp(*address)
        async with await TLSStream.wrap(plain, hostname="127.0.0.1", ssl_context=authority.trusted()) as stream:
            await end.made.wait()
            end.send(b"secret")
            assert await stream.receive() == b"secret"


async def test_discarded_writer_leaves_the_transport_socket_open() -> None:
    """As where an event loop ends before it has told of the end of its connections."""
    end = End()
    async with serving(end) as address:
        with sockets.create_connection(address, timeout=10) as client:
            await end.made.wait()
            transport = end.transport
            transport.set_protocol(asyncio.Protocol())
            forgotten = DirectWriter(transport, high=_HIGH)
            del forgotten
            gc.collect()
            transport.write(b"still there")
            assert await anyio.to_thread.run_sync(client.recv, 100) == b"still there"
            transport.abort()


async def test_data_is_sent_only_where_it_may_be() -> None:
    """Between the handshake and the closing one; what the protocol itself has to say is."""
    end = End()
    async with serving(end) as address:
        with sockets.create_connection(address, timeout=10) as client:
            await end.made.wait()
            end.let_data(False)
            end.deliver(b"too early")
            end.send(b"101 ")
            end.let_data(True)
            end.deliver(b"data ")
            end.let_data(False)
            end.deliver(b"too late")
            end.send(b"close")
            end.transport.write_eof()
            assert await anyio.to_thread.run_sync(rest, client) == b"101 data close"
