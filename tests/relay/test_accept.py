"""What the first bytes of a connection lead to, sent by hand to a real relay."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import httpx
import pytest
from anyio.abc import ByteStream, SocketStream
from anyio.lowlevel import checkpoint

from tests.relay.serving import listening
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.relay.node import Node

pytestmark = pytest.mark.anyio

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
HANDSHAKE = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    + KEY
    + b"Sec-WebSocket-Version: 13\r\n\r\n"
)
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def running(valkey: Valkey) -> AsyncIterator[tuple[httpx.AsyncClient, Node]]:
    async with listening(valkey.url()) as both:
        yield both


async def opened(client: httpx.AsyncClient) -> SocketStream:
    return await anyio.connect_tcp("127.0.0.1", client.base_url.port or 0)


async def turned() -> None:
    """Let the relay, which shares this event loop, read what was sent to it."""
    for _ in range(3):
        await checkpoint()


async def answer(stream: ByteStream, *pieces: bytes, until: bytes = b"\r\n\r\n") -> bytes:
    """What comes back, until it holds ``until``, for what is sent in these pieces."""
    for piece in pieces:
        await stream.send(piece)
        await turned()
    with anyio.fail_after(20):
        got = b""
        while until not in got:
            got += await stream.receive()
    return got


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([HANDSHAKE], b"101"),
        ([HANDSHAKE.replace(b"Upgrade: websocket", b"UPGRADE: WebSocket")], b"101"),
        ([HANDSHAKE[:20], HANDSHAKE[20:]], b"101"),
        ([bytes((each,)) for each in HANDSHAKE], b"101"),
        ([HANDSHAKE.replace(b"/connection/websocket", b"/elsewhere")], b"404"),
        ([HANDSHAKE.replace(b"Connection: Upgrade\r\n", b"")], b"426"),
        ([HANDSHAKE.replace(KEY, b"")], b"400"),
        ([HANDSHAKE + b"x" * 9000 + b"\r\n\r\n"], b"101"),
        ([HANDSHAKE.replace(b"localhost", b"evil.example")], b"403"),
        ([HANDSHAKE.replace(b"localhost", b"evil.example") + READY], b"403"),
        ([HANDSHAKE.replace(b"websocket\r\n", b"h2c\r\n")], b"426"),
        ([HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.1\r\nSec-WebSocket-Protocol:")], b"101"),
        ([HANDSHAKE.replace(b"/websocket ", b"/websocket?cf_protocol=protobuf ")], b"400"),
        ([READY], b"200"),
        ([READY[:3], READY[3:]], b"200"),
        ([b"nonsense\r\n\r\n"], b"400"),
    ],
)  # fmt: skip
async def test_a_handshake_is_the_websockets_and_all_else_is_http(
    running: tuple[httpx.AsyncClient, Node], pieces: list[bytes], status: bytes
) -> None:
    async with await opened(running[0]) as stream:
        head = await answer(stream, *pieces)
        assert head.split()[1] == status, head


def text(command: bytes, *, fin: bool = True, opcode: int = 1) -> bytes:
    """A frame of at most 125 bytes, as a client sends it."""
    return bytes((fin << 7 | opcode, 0x80 | len(command))) + bytes(4) + command


CONNECT = text(b'{"id":1,"connect":{}}')


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (HANDSHAKE.replace(b"/connection/websocket", b"/elsewhere") + READY, b"HTTP/1.1 404 "),
        (HANDSHAKE.replace(KEY, b"") + READY, b"HTTP/1.1 400 "),
        (HANDSHAKE.replace(KEY, KEY + KEY) + HANDSHAKE, b"HTTP/1.1 400 "),
        (HANDSHAKE.replace(b"Upgrade: web", b"Upgrade:  web") + CONNECT, b'"connect":{"client":'),
        (READY + HANDSHAKE + CONNECT, b'"connect":{"client":'),
        (READY + HANDSHAKE.replace(KEY, b"") + READY, b"HTTP/1.1 400 "),
    ],
)
async def test_who_has_done_much_and_says_all_at_once_is_answered(
    running: tuple[httpx.AsyncClient, Node], sent: bytes, told: bytes
) -> None:
    """They wait for a turn; a handshake is read alone all the same, and their end is heard after what they said."""
    client, relay = running
    async with await opened(client) as stream:
        await eventually(lambda: relay.limits.find("127.0.0.1") is not None, what="the connection to be there")
        account = relay.limits.find("127.0.0.1")
        assert account is not None
        account.spend(1.0, paced=False)
        assert account.heavy
        await stream.send(sent)
        await stream.send_eof()
        assert told in await answer(stream, until=told)


DROPPED = {
    "all": HANDSHAKE.replace(b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b""),
    "Upgrade": HANDSHAKE.replace(b"Upgrade: websocket\r\n", b""),
    "Connection": HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: close"),
    "below a path": HANDSHAKE.replace(b"/connection", b"/relay/connection").replace(b"Connection: Upgrade\r\n", b""),
    "by a browser": b"GET /connection/websocket?token=x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "sooner": READY.replace(b"/readyz", b"/a/connection/websocket"),
}


@pytest.mark.parametrize("request_", DROPPED.values(), ids=DROPPED)
async def test_a_handshake_that_lost_its_upgrade_is_told_of_the_proxy(
    running: tuple[httpx.AsyncClient, Node], request_: bytes
) -> None:
    async with await opened(running[0]) as stream:
        told = await answer(stream, request_, until=b"pass them on")
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 426 ")
    fields = [line.lower().partition(b":") for line in head.split(b"\r\n")[1:]]
    assert [value.strip() for name, _, value in fields if name == b"upgrade"] == [b"websocket"]
    assert b"upgrade" in [value.strip() for name, _, value in fields if name == b"connection"]
    assert b"a proxy before the relay has dropped them" in body


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        ("", None), (" ", None), (",", None), ("centrifuge-json", "centrifuge-json"), ("chat, v2", None),
        ("centrifuge-protobuf, centrifuge-json", "centrifuge-json"),
        ("chat\r\nSec-WebSocket-Protocol: centrifuge-json", "centrifuge-json"),
    ],
)  # fmt: skip
async def test_the_sub_protocol_is_json_where_it_is_offered(
    running: tuple[httpx.AsyncClient, Node], offered: str, selected: str | None
) -> None:
    line = f"Sec-WebSocket-Protocol: {offered}\r\n\r\n".encode()
    async with await opened(running[0]) as stream:
        head = (await answer(stream, HANDSHAKE[:-2] + line)).decode()
        assert head.startswith("HTTP/1.1 101 ")
        assert re.findall(r"(?im)^sec-websocket-protocol: (\S+)\r$", head) == ([selected] if selected else [])
        await answer(stream, CONNECT, until=b'"connect":{"client":')


@pytest.mark.parametrize(
    "request_",
    [
        HANDSHAKE[:-2] + b"Sec-WebSocket-Protocol: centrifuge-protobuf\r\n\r\n",
        HANDSHAKE[:-2] + b"Sec-WebSocket-Protocol: chat, centrifuge-protobuf\r\n\r\n",
        HANDSHAKE.replace(b"websocket HTTP", b"websocket?cf_protocol=protobuf HTTP"),
        HANDSHAKE.replace(b"websocket HTTP", b"websocket?a=b&format=protobuf HTTP"),
    ],
)
async def test_who_wants_protobuf_is_told_that_only_json_is_served(
    running: tuple[httpx.AsyncClient, Node], request_: bytes
) -> None:
    async with await opened(running[0]) as stream:
        told = await answer(stream, request_, until=b"if it has one")
    assert told.startswith(b"HTTP/1.1 400 ")
    assert b"only the protocol's JSON form" in told


async def test_who_speaks_protobuf_all_the_same_is_told_why_it_ends(running: tuple[httpx.AsyncClient, Node]) -> None:
    async with await opened(running[0]) as stream:
        await answer(stream, HANDSHAKE)
        told = await answer(stream, b"\x82\x84" + bytes(4) + b"\x03\x08\x01\x22", until=b"text frames")
    assert (3501).to_bytes(2) + b"binary frame: only the JSON protocol" in told


PROTOCOLS = HANDSHAKE.replace(KEY, KEY + b"Sec-WebSocket-Protocol: centrifuge-json\r\n")
LONG = HANDSHAKE.replace(KEY, KEY + b"X-Long: " + b"x" * 5000 + b"\r\n")
HEADS = {
    "as most send it": [HANDSHAKE],
    "that names a protocol": [PROTOCOLS],
    "that is long": [LONG],
    "in pieces": [HANDSHAKE[:20], HANDSHAKE[20:]],
    "behind a request": [READY + HANDSHAKE],
    "behind requests": [READY, READY + READY + READY + HANDSHAKE],
}
FRAMES = {
    "one": [CONNECT],
    "its begin": [CONNECT[:9], CONNECT[9:]],
    "its first byte": [CONNECT[:1], CONNECT[1:]],
    "fragments": [text(b'{"id":1,', fin=False) + text(b'"connect":{}}', opcode=0)],
    "several": [CONNECT + text(b'{"id":2,"rpc":{"method":"nothing"}}')],
}


async def test_what_follows_the_handshake_at_once_is_heard(running: tuple[httpx.AsyncClient, Node]) -> None:
    for (name, head), (what, frames) in itertools.product(HEADS.items(), FRAMES.items()):
        last = b'"id":2' if what == "several" else b'"connect":{"client":'
        sent = [*head[:-1], head[-1] + frames[0], *frames[1:]]
        async with await opened(running[0]) as stream:
            told = await answer(stream, *sent, until=last)
        answers = [int(each) for each in re.findall(rb"HTTP/1.1 (\d+) ", told)]
        asked = [200] * b"".join(head).count(b"/readyz") + [101]
        assert answers == asked, (name, what)  # in the order in which they were asked
        assert told.index(b" 101 ") < told.index(b'"connect":{')


async def test_a_ping_with_the_handshake_is_answered_behind_it(running: tuple[httpx.AsyncClient, Node]) -> None:
    for head in (HANDSHAKE, PROTOCOLS):
        async with await opened(running[0]) as stream:
            told = await answer(stream, head + text(b"here", opcode=9), until=b"\x8a\x04here")
        assert told.startswith(b"HTTP/1.1 101 ")


async def test_many_frames_with_the_handshake_are_all_answered(running: tuple[httpx.AsyncClient, Node]) -> None:
    many = b"".join(text(b'{"id":%d,"rpc":{"method":"nothing"}}' % number) for number in range(2, 500))
    async with await opened(running[0]) as stream:
        told = await answer(stream, HANDSHAKE + CONNECT + many, until=b'"id":499,')
    assert [int(each) for each in re.findall(rb'"id":(\d+),', told)] == list(range(1, 500))


async def test_what_comes_with_a_handshake_that_is_refused_is_not_heard(
    running: tuple[httpx.AsyncClient, Node],
) -> None:
    for head in (HANDSHAKE, PROTOCOLS, LONG):
        async with await opened(running[0]) as stream:
            told = await answer(stream, head.replace(b"localhost", b"evil.example") + CONNECT, until=b"allows it")
            with anyio.fail_after(20), suppress(anyio.EndOfStream):
                while True:
                    told += await stream.receive()
        assert told.startswith(b"HTTP/1.1 403 ")
        assert b"connect" not in told.partition(b"\r\n\r\n")[2]


async def test_who_was_refused_is_told_nothing_more_when_the_relay_stops(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, _):
        stream = await opened(client)
        refused = await answer(stream, HANDSHAKE.replace(b"localhost", b"evil.example"), until=b"allows it")
    more = b""
    with anyio.fail_after(20), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            more += await stream.receive()
    await stream.aclose()
    body = refused.partition(b"\r\n\r\n")[2] + more
    assert body.endswith(b"allows it\n"), body


async def test_several_requests_over_one_connection(running: tuple[httpx.AsyncClient, Node]) -> None:
    async with await opened(running[0]) as stream:
        for _ in range(2):
            assert (await answer(stream, READY)).split()[1] == b"200"


async def test_a_connection_that_says_nothing_ends_with_the_relay(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, _):
        quiet = await opened(client)
        await turned()
    with anyio.fail_after(20), pytest.raises(anyio.EndOfStream):
        await quiet.receive()
    await quiet.aclose()
