"""A connection of HTTP: whose turn it is, what waits, what it leaves behind. What it refuses: tests/relay/limits."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from starlette.types import Receive, Scope, Send

from tests.support.waiting import eventually
from watcher.core.settings import Settings
from watcher.relay.common.stats import Stats
from watcher.relay.http.connection import HttpConnection
from watcher.relay.limits.limits import Limits
from watcher.relay.limits.timeouts import Timeouts

pytestmark = pytest.mark.anyio

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = b"GET /w HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Wire(asyncio.Transport):
    """It takes everything, and says whether it is read from."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = b""
        self.closed = False
        self.read = True
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.taken += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.read = False

    def resume_reading(self) -> None:
        self.read = True


class Socket(asyncio.Protocol):
    """What stands for a WebSocket."""

    def __init__(self, **_: Any) -> None:
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data


class Relay:
    """What a connection needs, and an application whose answers wait for ``gate``."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.counts = Stats()
        self.limits = Limits(self.settings, self.counts, time.monotonic)
        self.timeouts = Timeouts(self.settings)
        self.gate = asyncio.Event()
        self.asked: list[str] = []
        self.server_state: Any = SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0)
        self.config = SimpleNamespace(
            loaded_app=self.answer, ws_protocol_class=Socket, root_path="", timeout_keep_alive=60
        )

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        await self.gate.wait()
        body = scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    def connect(self) -> tuple[HttpConnection, Wire]:
        account = self.limits.enter("192.0.2.1")
        wire = Wire()
        wire.protocol = HttpConnection(self, account, config=self.config, server_state=self.server_state)
        wire.protocol.connection_made(wire)
        return wire.protocol, wire


def bodies(wire: Wire) -> list[str]:
    return [part.partition(b"\r\n\r\n")[2].decode() for part in wire.taken.split(b"HTTP/1.1 ")[1:]]


async def test_requests_are_answered_in_order_and_one_at_a_time() -> None:
    relay = Relay()
    connection, wire = relay.connect()
    connection.data_received(b"".join(GET % number for number in range(5)))
    await eventually(lambda: relay.asked == ["/0"], what="the first")
    assert not wire.read, "no more is read while two wait"
    relay.gate.set()
    await eventually(lambda: len(bodies(wire)) == 5, what="all answers")
    assert bodies(wire) == relay.asked == ["/0", "/1", "/2", "/3", "/4"]
    assert wire.read
    connection.connection_lost(None)


async def test_a_websocket_is_made_when_all_before_it_is_answered() -> None:
    relay = Relay()
    connection, wire = relay.connect()
    connection.data_received(GET % 1 + UPGRADE + b"first")
    await checkpoint()
    connection.data_received(b" second")
    assert wire.protocol is connection
    relay.gate.set()
    await eventually(lambda: wire.protocol is not connection, what="the WebSocket")
    lower = UPGRADE.replace(b"Host:", b"host:").replace(b"Connection:", b"connection:")
    websocket: Any = wire.protocol
    assert websocket.heard == lower.replace(b"Upgrade: w", b"upgrade: w") + b"first second"
    assert bodies(wire) == ["/1"]
    assert relay.server_state.connections == set()
    assert len(relay.timeouts.headers) + len(relay.timeouts.bodies) == 0


async def test_a_connection_that_is_gone_leaves_nothing_and_is_freed_at_once() -> None:
    relay = Relay()
    connection, wire = relay.connect()
    connection.data_received(GET % 1 + GET % 2 + b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    await eventually(lambda: relay.asked == ["/1"], what="the first")
    connection.connection_lost(None)
    wire.protocol = None  # as a transport does
    relay.gate.set()
    await eventually(lambda: not relay.server_state.tasks, what="the end of its task")
    assert relay.asked == ["/1"]
    assert relay.server_state.connections == set()
    assert len(relay.timeouts.headers) + len(relay.timeouts.bodies) == 0
    gc.disable()
    try:
        assert sys.getrefcount(connection) == 2, "nothing keeps it that would have to be searched for"
    finally:
        gc.enable()


async def test_a_server_that_stops_waits_for_the_answer_that_is_under_way() -> None:
    relay = Relay()
    (idle, empty), (busy, full) = relay.connect(), relay.connect()
    busy.data_received(GET % 1)
    await eventually(lambda: relay.asked == ["/1"], what="the request")
    for each in (idle, busy):
        each.shutdown()
    assert (empty.closed, full.closed) == (True, False)
    relay.gate.set()
    await eventually(lambda: full.closed, what="the end")
    assert bodies(full) == ["/1"]
    assert b"connection: close" in full.taken


@pytest.mark.parametrize("offer", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
async def test_a_request_is_charged_whatever_it_offers_to_become(offer: bytes) -> None:
    relay = Relay()
    connection, _ = relay.connect()
    account = relay.limits.enter("192.0.2.1")
    assert account.ahead(now := time.monotonic()) < -1
    connection.data_received(b"GET / HTTP/1.1\r\nHost: h\r\n" + offer + b"\r\n")
    await eventually(lambda: relay.asked == ["/"], what="the request")
    assert account.ahead(now) > -1
