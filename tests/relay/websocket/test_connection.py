"""One WebSocket, over a real connection: handshake, frames, slow and silent clients, the end."""

from __future__ import annotations

import asyncio
import functools
import json
import socket as sockets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from tests.support.certificates import Authority
from tests.support.client import Client, client
from tests.support.events import line
from tests.support.waiting import eventually
from watcher.centrifuge import messages
from watcher.centrifuge.frames import frame, frames
from watcher.core.errors import NotPermitted
from watcher.core.permissions import OPEN
from watcher.relay.common.audit_log import AuditLog
from watcher.relay.common.stats import Stats
from watcher.relay.http._uvicorn import Server
from watcher.relay.limits.socket_backlog import waiting
from watcher.relay.security.forwarded import Lines, Peer, peer
from watcher.relay.security.origins import origin_of
from watcher.relay.security.tls import Certificate
from watcher.relay.stream.fanout import fan_out
from watcher.relay.stream.history import ALL, History
from watcher.relay.stream.hub import Hub
from watcher.relay.websocket.connection import WebSocketConnection
from watcher.relay.websocket.handshake import PATH
from watcher.relay.websocket.records import Call, SessionConfig

pytestmark = pytest.mark.anyio

#: More than any socket buffer between the two ends.
MUCH = 12_000


class Counter:
    """A desk that answers each call with the number of calls so far."""

    def __init__(self) -> None:
        self.hub: Hub[Any] = Hub(History(100_000, 1 << 28))
        self.hub.reset("e", 1)
        self.terms = SessionConfig("watcher", "1", 25, lambda token: OPEN)
        self.counts = Stats()
        self.refusals = AuditLog()
        self.clients: list[WebSocketConnection] = []
        self.calls = 0
        self.full = False
        self.ends: float | None = None
        self.url = ""

    def peer(self, transport: asyncio.Transport, lines: Lines) -> Peer:
        return peer("127.0.0.1", lines, ())

    def refusal(self, peer: Peer, lines: Lines) -> str | None:
        return "not from there" if "http://elsewhere.example" in lines("Origin") else None

    def named(self, peer: Peer, lines: Lines) -> None:
        return None

    def opened(self, socket: WebSocketConnection) -> bool:
        self.clients.append(socket)
        return not self.full

    def closed(self, socket: WebSocketConnection) -> None:
        self.clients.remove(socket)

    def expires(self, socket: WebSocketConnection, moment: float | None) -> None:
        self.ends = moment

    def call(self, socket: WebSocketConnection, call: Call) -> None:
        self.calls += 1
        if call.method == "forbidden":
            socket.refuse(call, NotPermitted("no"))
        else:
            socket.answer(call, {"calls": self.calls})

    def publish(self, lines: Sequence[bytes]) -> None:
        self.hub.publish(lines)
        fan_out(self.hub.flush(), self.counts)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("only WebSockets are expected here")


@pytest.fixture(params=["ws", "wss"])
def wire(request: pytest.FixtureRequest, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Certificate | None:
    """Both ways to be connected: what depends on the transport must hold over each."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    return Certificate(authority.settings()) if request.param == "wss" else None


@asynccontextmanager
async def serving(wire: Certificate | None = None, desk: Counter | None = None) -> AsyncIterator[Counter]:
    desk = desk or Counter()
    with sockets.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        desk.url = f"{'wss' if wire else 'ws'}://127.0.0.1:{listening.getsockname()[1]}"
        made: Any = functools.partial(WebSocketConnection, desk)  # a factory serves; uvicorn's types say class
        config = uvicorn.Config(
            nothing, ws=made, http="httptools", lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        server = Server(config, wire)
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listening])
            await eventually(lambda: server.started, what="the server to listen")
            yield desk
            server.should_exit = True


@asynccontextmanager
async def talking(desk: Counter, **options: Any) -> AsyncIterator[Client]:
    async with client(desk.url + PATH, **options) as speaking:
        yield speaking


async def test_it_speaks_where_it_is_and_nowhere_else(wire: Certificate | None) -> None:
    async with serving(wire) as desk:
        with pytest.raises(InvalidStatus, match="404"):
            await connect(desk.url + "/elsewhere")
        with pytest.raises(InvalidStatus, match="403"):
            await connect(desk.url + PATH, origin="http://elsewhere.example")  # type: ignore[arg-type]  # a NewType
        async with connect(f"{desk.url}/below/a/proxy{PATH}?format=json", compression="deflate") as socket:
            assert socket.protocol.extensions == [], "compression costs 30 KiB a connection"
        desk.full = True
        with pytest.raises(InvalidStatus, match="503"):
            await connect(desk.url + PATH)


@pytest.mark.parametrize("doubled", ["Host", "Origin"])
async def test_of_two_hosts_or_origins_neither_is_believed(doubled: str) -> None:
    asked: list[tuple[str | None, str | None]] = []

    class Strict(Counter):
        def refusal(self, peer: Peer, lines: Lines) -> str | None:
            asked.append((peer.host, origin_of(lines)))
            return "not from there"

    evil = [(doubled, "evil.example")]
    more = evil if doubled == "Host" else [("Origin", "http://localhost"), *evil]
    async with serving(desk=Strict()) as desk:
        with pytest.raises(InvalidStatus, match="403"):
            await connect(desk.url + PATH, additional_headers=more)
    [(host, origin)] = asked
    assert host is None if doubled == "Host" else origin == "http://localhost, evil.example"


async def test_calls_are_answered_with_what_came_of_them() -> None:
    async with serving() as desk, talking(desk) as speaking:
        assert await speaking.rpc("anything", x=1) == {"calls": 1}
        assert (await speaking.ask(rpc={"method": "forbidden"}))["error"] == {"code": 103, "message": "no"}


async def test_a_message_may_come_in_pieces_but_not_be_endless(wire: Certificate | None) -> None:
    async with serving(wire) as desk, connect(desk.url + PATH) as socket:
        await socket.send(['{"id":1,', '"connect"', ":{}}"])
        assert json.loads(await socket.recv())["id"] == 1
        await socket.send(" " * 300_000)
        with pytest.raises(ConnectionClosed) as ended:
            await socket.recv()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1009


@pytest.mark.parametrize(("message", "reason"), [(b"binary", messages.JSON_ONLY), ("nonsense", messages.BAD_PROTOCOL)])
async def test_what_is_not_the_protocol_is_told_so(message: Any, reason: messages.Disconnect) -> None:
    async with serving() as desk, connect(desk.url + PATH) as socket:
        await socket.send(message)
        await ends_with(socket, reason)
        await eventually(lambda: not desk.clients, what="the connection to be gone")


async def _forever(socket: ClientConnection) -> AsyncIterator[None]:
    while True:
        await socket.recv()
    yield  # never: it ends with the connection


async def ends_with(socket: ClientConnection, reason: messages.Disconnect) -> None:
    with pytest.raises(ConnectionClosed) as ended:
        await anext(_forever(socket))
    assert ended.value.rcvd is not None
    assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (reason.code, reason.reason)


async def test_each_subscriber_gets_each_event_in_few_frames(wire: Certificate | None) -> None:
    async with serving(wire) as desk, talking(desk) as one, talking(desk) as two:
        await one.subscribe(ALL)
        await two.subscribe(ALL)
        before = one.frames
        desk.publish([line(f"t{number}") for number in range(100)])
        for each in (one, two):
            await each.until(functools.partial(has, each, 100), "100 events")
            assert [offset for offset, _ in each.publications()] == list(range(1, 101))
        assert one.frames == before + 1


def has(speaking: Client, count: int) -> bool:
    return len(speaking.publications()) == count


async def test_an_event_on_several_channels_of_a_client_comes_on_each() -> None:
    async with serving() as desk, talking(desk) as speaking:
        await speaking.subscribe(ALL)
        await speaking.subscribe("name:n")
        desk.publish([line("a", name="n"), line("b")])
        await speaking.until(lambda: len(speaking.pushes) == 3, "three pushes")
        assert [offset for offset, _ in speaking.publications("name:n")] == [1]


async def test_slow_client_delays_only_itself_and_misses_nothing(wire: Certificate | None) -> None:
    async with (
        serving(wire) as desk,
        talking(desk) as good,
        connect(desk.url + PATH, max_size=None, max_queue=1) as slow,
    ):
        await slow.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"tasks"}}')
        await slow.recv()
        await good.subscribe(ALL)
        text = "x" * 1000
        for start in range(0, MUCH, 100):
            desk.publish([line(f"t{number}", argsrepr=text) for number in range(start, start + 100)])
            await anyio.lowlevel.checkpoint()
        await good.until(lambda: len(good.publications()) == MUCH, "all events at the good client", 20)
        behind = [each for each in desk.clients if each._throttle.paused]
        assert len(behind) == 1
        assert behind[0]._transport.get_write_buffer_size() < 1 << 20
        seen: list[int] = []
        with anyio.fail_after(20):
            while len(seen) < MUCH:
                told = [json.loads(each) for each in str(await slow.recv()).split("\n")]
                seen += [each["push"]["pub"]["offset"] for each in told if "push" in each]
        assert seen == list(range(1, MUCH + 1))
        desk.publish([line("after")])
        assert json.loads(str(await slow.recv()))["push"]["pub"]["offset"] == MUCH + 1


async def test_a_client_that_takes_nothing_for_a_minute_is_given_up(wire: Certificate | None) -> None:
    async with serving(wire) as desk, connect(desk.url + PATH, max_size=None, max_queue=1) as slow:
        await slow.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"tasks"}}')
        await slow.recv()
        (socket,) = desk.clients
        for start in range(0, MUCH, 100):
            desk.publish([line(f"t{number}", argsrepr="x" * 1000) for number in range(start, start + 100)])
            await anyio.lowlevel.checkpoint()
        assert socket._throttle.paused
        now = anyio.current_time()
        for seconds in range(0, 61, 25):
            socket.tick(now + seconds)
        assert desk.clients == [socket]
        socket.tick(now + 100)
        await eventually(lambda: not desk.clients, what="the connection to be given up")
        slow.transport.abort()


async def test_pings_are_sent_and_a_pong_is_demanded(wire: Certificate | None) -> None:
    async with serving(wire) as desk, talking(desk) as good, connect(desk.url + PATH) as mute:
        await mute.send('{"id":1,"connect":{}}')
        await mute.recv()
        for each in desk.clients:
            each.tick(anyio.current_time())
        await good.until(lambda: good.pings == 1, "a ping")
        assert await mute.recv() == "{}"
        await good.rpc("anything")
        for each in list(desk.clients):
            each.tick(anyio.current_time())
        await ends_with(mute, messages.NO_PONG)
        await good.until(lambda: good.pings == 2, "another ping")


async def test_pong_is_not_due_until_the_client_has_read_the_ping(wire: Certificate | None) -> None:
    async with serving(wire) as desk, connect(desk.url + PATH, max_size=None, max_queue=1) as slow:
        await slow.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"tasks"}}')
        await slow.recv()
        (socket,) = desk.clients
        count = 0
        while not waiting(socket._transport):  # the kernel's buffers take some before anything waits
            desk.publish([line(f"t{count}-{number}", argsrepr="x" * 1000) for number in range(100)])
            count += 100
            await anyio.lowlevel.checkpoint()
        assert not socket._throttle.paused, "the relay itself is not held up yet"
        now = anyio.current_time()
        for seconds in range(0, 51, 25):
            socket.tick(now + seconds)
        assert desk.clients == [socket]
        with anyio.fail_after(20):
            seen = 0
            while seen < count:
                seen += str(await slow.recv()).count('"pub"')
        await slow.send("{}")
        await eventually(lambda: not socket._pinged, what="the pong")
        socket.tick(now + 75)
        assert desk.clients == [socket]
        slow.transport.abort()


async def test_whoever_says_nothing_is_stale(wire: Certificate | None) -> None:
    async with serving(wire) as desk, connect(desk.url + PATH) as silent:
        await eventually(lambda: desk.clients, what="the connection")
        (socket,) = desk.clients
        socket.close_if_silent()
        await ends_with(silent, messages.STALE)


async def test_a_relay_that_stops_says_so(wire: Certificate | None) -> None:
    async with serving(wire) as desk, connect(desk.url + PATH) as socket:
        await socket.send('{"id":1,"connect":{}}')
        await socket.recv()
        desk.clients[0].shutdown()
        await ends_with(socket, messages.SHUTDOWN)


async def test_a_client_that_vanishes_is_forgotten(wire: Certificate | None) -> None:
    async with serving(wire) as desk:
        async with talking(desk) as speaking:
            await speaking.subscribe(ALL)
            speaking.vanish()
            await eventually(lambda: not desk.clients, what="the connection to be gone")
        assert desk.hub.subscribers() == set()


async def test_a_new_journal_ends_subscriptions_and_not_the_connection() -> None:
    async with serving() as desk, talking(desk) as speaking:
        await speaking.subscribe(ALL)
        desk.hub.reset("f", 1)
        desk.clients[0].restart()
        await speaking.until(lambda: speaking.pushes, "a push")
        assert speaking.pushes == [{"channel": ALL, "unsubscribe": {"code": 2500, "reason": "insufficient state"}}]
        assert (await speaking.subscribe(ALL))["epoch"] == "f"


@given(st.binary(max_size=70_000))
def test_a_frame_is_what_a_client_reads(payload: bytes) -> None:
    assert parsed(frame(payload)) == [payload]


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=9))
def test_texts_are_joined_to_frames_of_a_bounded_size(sizes: list[int]) -> None:
    texts = [b"x" * size for size in sizes]
    read = parsed(frames(texts))
    assert b"\n".join(read).split(b"\n") == texts
    assert all(len(each) <= 64 * 1024 + 40_000 for each in read)


def parsed(data: bytes) -> list[bytes]:
    protocol = Protocol(CLIENT, max_size=None)
    protocol.receive_data(data)
    events = protocol.events_received()
    assert all(isinstance(each, Frame) and each.opcode is Opcode.TEXT and each.fin for each in events)
    return [bytes(each.data) for each in events if isinstance(each, Frame)]
