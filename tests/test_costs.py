"""What an event and a connection cost, counted instead of timed: writes, calls, memory, asyncio tasks, scripts.

Times differ from machine to machine, counts hardly do. Each bound is what was counted when it was set (CPython 3.11,
stated beside it) with a tenth on top; later versions of Python count fewer calls. Who makes a hot path shorter lowers
its bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import socket as sockets
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from redis.asyncio import Redis
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from tests.relay.support import JOURNAL
from tests.support.client import Client, client
from tests.support.events import event, line, record, stored
from tests.support.processes import relay
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.settings import Settings
from watcher.journal.connect import Target
from watcher.journal.scripts import APPEND
from watcher.relay import server
from watcher.relay.accept import ProtocolSniffer
from watcher.relay.node import Node
from watcher.relay.stream.snapshot import JournalSnapshot
from watcher.relay.websocket.connection import WebSocketConnection
from watcher.relay.websocket.handshake import PATH
from watcher.worker.publish.publisher import Publisher

pytestmark = pytest.mark.anyio

HANDSHAKE = (
    f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()


class Wire(asyncio.Transport):
    """The far end of a connection: it takes everything, and counts the writes."""

    __slots__ = ("protocol", "writes")

    def __init__(self) -> None:
        self.writes = 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = cast(asyncio.Protocol, protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False


class Plain(Wire):
    """One with a socket, as connections without TLS have, that has room for all that is sent here."""

    __slots__ = ("other", "socket")

    def __init__(self) -> None:
        super().__init__()
        self.socket, self.other = sockets.socketpair()
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 1 << 20)
        self.socket.setblocking(False)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else default


class State:
    """Of uvicorn's state what a socket uses."""

    def __init__(self) -> None:
        self.connections: set[Any] = set()


class Inside:
    """A relay's inside, from the feed to the transports: lines in, writes out.

    :param tasks: how many it knows, ``task-0`` and so on.
    """

    def __init__(self, tasks: int, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.relay = Node(settings, JOURNAL, Redis(), None)
        self.relay.broadcaster.restart(JournalSnapshot("1", 1, (), ()))
        self.relay.limits.enter("").trusted = True  # all come at one moment, but stand for many addresses
        self.tasks = [f"task-{number}" for number in range(tasks)]
        self.relay.broadcaster.extend(news(self.tasks, "STARTED"))
        self._given = {
            "config": SimpleNamespace(ws_protocol_class=functools.partial(WebSocketConnection, self.relay.clients)),
            "server_state": State(),
        }

    def join(self, *channels: str) -> Wire:
        """A client that watches some channels."""
        wire = Wire()
        self._join(wire, channels)
        assert wire.writes == 2, "the handshake, and all replies in one"
        wire.writes = 0
        return wire

    @contextlib.contextmanager
    def joined(self, *each: str) -> Iterator[None]:
        """Clients over plain connections, each of which watches one of these channels."""
        wires = [Plain() for _ in each]
        clients = [self._join(wire, (channel,)) for wire, channel in zip(wires, each, strict=True)]
        yield
        for wire, gone in zip(wires, clients, strict=True):
            gone.connection_lost(None)
            wire.socket.close()
            wire.other.close()
            assert wire.writes == 0, "all went straight to the kernel"

    def _join(self, wire: Wire, channels: Sequence[str]) -> asyncio.Protocol:
        opening = ProtocolSniffer(self.relay, **self._given)
        opening.connection_made(wire)
        opening.data_received(HANDSHAKE)
        commands = ['{"id":1,"connect":{}}']
        commands += [f'{{"id":{2 + at},"subscribe":{{"channel":"{each}"}}}}' for at, each in enumerate(channels)]
        wire.protocol.data_received(Frame(Opcode.TEXT, "\n".join(commands).encode()).serialize(mask=True))
        return wire.protocol

    def calls(self, events: int) -> int:
        """How many functions run, Python's and C's, while events of so many tasks pass through in one batch."""
        return calls(functools.partial(self.relay.broadcaster.extend, news(self.tasks[:events])))


def news(tasks: list[str], state: str = "PROGRESS") -> list[bytes]:
    """An event of each of these tasks, of about 300 bytes, on the channels that most events are on."""
    worker = "celery@worker-1." + "x" * 150
    return [line(each, state, 2.0, name="shop.import", root_id=each, hostname=worker) for each in tasks]


def calls(function: Callable[[], object]) -> int:
    count = 0

    def profile(frame: FrameType, what: str, argument: object) -> None:
        nonlocal count
        count += what in ("call", "c_call")

    before = sys.getprofile()  # a debugger's, or one that measures coverage
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


# Writes.


async def test_a_batch_is_one_write_to_each_client() -> None:
    inside = Inside(100)
    wires = [inside.join("tasks") for _ in range(20)]
    inside.relay.broadcaster.extend(news(inside.tasks))
    assert [wire.writes for wire in wires] == [1] * 20


async def test_a_batch_is_one_write_to_a_client_of_many_channels() -> None:
    inside = Inside(100)
    wires = [inside.join("tasks", f"task:{each}", "name:shop.import") for each in inside.tasks]
    inside.relay.broadcaster.extend(news(inside.tasks) + news(inside.tasks))
    assert [wire.writes for wire in wires] == [1] * 100


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a connection's segments as Linux does")
async def test_a_batch_from_redis_is_one_write_to_each_client(valkey: Valkey) -> None:
    """The kernel says so: what is no longer than a segment, which has 64 KiB on loopback, is one segment a write."""
    watching: list[Client] = []

    async def watch() -> None:
        async with client(serving.ws_url) as one:
            await one.subscribe()
            watching.append(one)
            await anyio.sleep_forever()

    with relay(None, env={"WATCHER_REDIS_URL": valkey.url()}) as serving, valkey.client() as redis:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(watch)
            await eventually(lambda: len(watching) == 20, what="20 clients")
            before = [one.segments() for one in watching]
            told = [record(event(f"task-{number}")) for number in range(100)]
            redis.register_script(APPEND)(*JOURNAL.append("writer", 1, told))
            await eventually(lambda: all(len(one.publications()) == 100 for one in watching), what="100 events each")
            assert [one.segments() for one in watching] == [count + 1 for count in before]
            group.cancel_scope.cancel()


# Calls. Where two counts are subtracted, what is done once for a batch falls out.


async def test_calls_for_an_event_that_nobody_watches() -> None:
    inside = Inside(200)
    assert inside.calls(200) - inside.calls(100) <= 100 * 23  # counted: 21


async def test_calls_for_an_event_that_another_one_leaves_for() -> None:
    inside = Inside(200, Settings(history=1000))
    for _ in range(10):
        inside.relay.broadcaster.extend(news(inside.tasks))
    assert len(inside.relay.hub.history) >= 1000
    assert inside.calls(200) - inside.calls(100) <= 100 * 30  # counted: 27


async def test_calls_for_an_event_that_many_watch() -> None:
    inside = Inside(200)
    with inside.joined("tasks"):
        assert inside.calls(200) - inside.calls(100) <= 100 * 25  # counted: 23


async def test_calls_for_each_client_that_a_batch_goes_to() -> None:
    inside = Inside(1)
    with inside.joined("tasks"):
        before = inside.calls(1)
        with inside.joined(*["tasks"] * 100):
            assert inside.calls(1) - before <= 100 * 3  # counted: 3, the last of them the write


async def test_calls_for_an_event_that_one_client_watches() -> None:
    inside = Inside(200)
    with inside.joined(*[f"task:{each}" for each in inside.tasks]):
        assert inside.calls(200) - inside.calls(100) <= 100 * 45  # counted: 41


async def test_calls_for_a_connection_until_it_is_subscribed() -> None:
    inside = Inside(100)
    assert calls(lambda: [inside.join(f"task:{each}") for each in inside.tasks]) <= 100 * 420  # counted: 391


# Memory.


async def test_memory_of_an_idle_connection() -> None:
    inside = Inside(300)
    wires = [inside.join(f"task:{each}") for each in inside.tasks[:100]]
    size, blocks = held(lambda: wires.extend([inside.join(f"task:{each}") for each in inside.tasks[100:]]))
    assert size <= 200 * 5900  # bytes; counted: 5,330
    assert blocks <= 200 * 78  # counted: 71


async def test_memory_of_an_event() -> None:
    inside = Inside(2000)
    inside.relay.broadcaster.extend(news(inside.tasks[:1000]))
    lines = news(inside.tasks[1000:])
    size, blocks = held(lambda: inside.relay.broadcaster.extend([bytes(bytearray(each)) for each in lines]))
    assert size <= 1000 * (len(lines[0]) + 215)  # bytes; counted: 195 beside the line itself
    assert blocks <= 1000 * 1.1  # counted: 1


def held(function: Callable[[], object]) -> tuple[int, int]:
    """Bytes and blocks of memory that are held since ``function`` has run, and were not before."""
    gc.collect()
    blocks = sys.getallocatedblocks()
    tracemalloc.start()  # counts from here on
    try:
        function()
        gc.collect()
        return tracemalloc.get_traced_memory()[0], sys.getallocatedblocks() - blocks
    finally:
        tracemalloc.stop()


# What runs.


async def test_an_idle_connection_has_no_task_of_asyncio(valkey: Valkey) -> None:
    sock = sockets.create_server(("127.0.0.1", 0))
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}{PATH}"
    started, stop, joined = anyio.Event(), anyio.Event(), contextlib.ExitStack()

    def join() -> None:
        socket = joined.enter_context(connect(url, compression=None))
        socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"tasks"}}')
        assert '"id":2,"subscribe"' in str(socket.recv(timeout=20))

    serve = functools.partial(
        server.serve, Settings(), app=None, redis=Target.of(valkey.url()), sock=sock, started=started.set, stop=stop
    )
    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await started.wait()
        await anyio.to_thread.run_sync(join)
        before = asyncio.all_tasks()
        for _ in range(20):
            await anyio.to_thread.run_sync(join)
        assert asyncio.all_tasks() == before
        await anyio.to_thread.run_sync(joined.close)
        stop.set()


def test_a_thousand_events_that_waited_are_two_scripts(valkey: Valkey) -> None:
    publisher = Publisher(valkey.url(), JOURNAL)
    publisher.publish(event("first", "SUCCESS"))
    assert publisher.flush()
    with valkey.client() as redis:

        def scripts() -> int:
            return int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])

        before = scripts()
        with valkey.frozen():
            for number in range(1000):
                publisher.publish(event(str(number), "SUCCESS"))
        assert publisher.flush(10)
        publisher.close()
        assert len(stored(redis.xrange(JOURNAL.stream))) == 1001
        # BATCH_EVENTS is 500. One more: the first events may be on their way when the others come.
        assert 2 <= scripts() - before <= 3
