"""What hostile clients send to a real relay, byte by byte: an answer or an end with the right code, no traceback."""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tests.faults.stage import resident
from tests.relay.serving import append
from tests.support.events import event
from tests.support.processes import Relay, relay
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

#: What the relay here allows.
HEADER = BODY = IDLE = CONNECT = 1
COMMANDS = 5000
_ENV = {
    "WATCHER_HEADER_TIMEOUT": str(HEADER),
    "WATCHER_BODY_TIMEOUT": str(BODY),
    "WATCHER_IDLE_TIMEOUT": str(IDLE),
    "WATCHER_CONNECT_TIMEOUT": str(CONNECT),
    "WATCHER_MAX_COMMANDS": str(COMMANDS),
}
UPGRADE = (
    "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
GET = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = "POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def _running(_valkey: Valkey) -> Iterator[Relay]:
    _valkey.flush()
    with relay(env={**_ENV, "CELERY_BROKER_URL": _valkey.url(15), "CELERY_RESULT_BACKEND": _valkey.url(14)}) as running:
        yield running


@pytest.fixture
def serving(_running: Relay) -> Iterator[Relay]:
    """A relay that says nothing of what happens in a test but what it means to say, and has no connection left."""
    before = len(_running.stderr)
    yield _running
    assert _running.ready()
    said = _running.stderr[before:]
    assert "Traceback" not in said
    assert "ERROR" not in said


class Raw:
    """A TCP connection."""

    def __init__(self, to: Relay) -> None:
        self.socket = socket.create_connection(("127.0.0.1", int(to.url.rpartition(":")[2])), timeout=15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: str | bytes) -> None:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def trickle(self, data: str, pause: float = 0.1) -> float:
        """Send a byte now and then until the relay has answered or hung up; returns after how many seconds it did."""
        start = time.monotonic()
        for byte in data.encode():
            with suppress(ConnectionError):
                self.socket.send(bytes((byte,)))
            if select.select([self.socket], [], [], pause)[0]:
                break
        return time.monotonic() - start

    def answer(self) -> bytes:
        """All that comes until the relay ends the connection."""
        got = b""
        try:
            while data := self.socket.recv(65536):
                got += data
        except ConnectionError:
            pass
        return got

    def upgraded(self) -> Raw:
        """Say hello as a WebSocket does, and read the answer."""
        self.send(UPGRADE + "\r\n")
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += self.socket.recv(1)
        assert got.startswith(b"HTTP/1.1 101 ")
        return self

    def code(self) -> int:
        """What the relay ends a WebSocket with."""
        answer = self.answer()
        (code,) = struct.unpack("!H", re.findall(rb"\x88.(..)[ -~]*$", answer, re.DOTALL)[-1])
        return int(code)


def status(answer: bytes) -> tuple[int, str]:
    """Status and kind of a problem; of several answers the last one's."""
    head, _, body = answer[answer.rindex(b"HTTP/1.1") :].partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer
    assert b"nosniff" in head
    problem = json.loads(body)
    assert problem["status"] == int(head.split()[1])
    return problem["status"], problem["type"].rpartition(":")[2]


def text(data: bytes, *, fin: bool = True, opcode: Opcode = Opcode.TEXT) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def counted(serving: Relay, limit: str) -> float:
    with urllib.request.urlopen(f"{serving.url}/metrics", timeout=10) as response:
        (found,) = re.findall(rf'watcher_limits_reached_total{{limit="{limit}"}} (\S+)', response.read().decode())
        return float(found)


@pytest.fixture
def reaches(serving: Relay) -> Iterator[Callable[[str], None]]:
    """Hold a test to the limit that it must reach, as the metrics tell it."""
    before: dict[str, float] = {}

    def note(limit: str) -> None:
        before[limit] = counted(serving, limit)

    yield note
    for limit, was in before.items():
        assert counted(serving, limit) > was, limit


# Slowly.


@pytest.mark.parametrize("head", [GET, UPGRADE], ids=["request", "handshake"])
def test_headers_come_in_time_or_not_at_all(serving: Relay, head: str, reaches: Callable[[str], None]) -> None:
    reaches("header_timeout")
    with Raw(serving) as raw:
        raw.send(head)
        assert HEADER <= raw.trickle("X-Slow: " + "x" * 1000) + 0.1 < HEADER + 4
        assert status(raw.answer()) == (408, "request-timeout")


def test_who_says_nothing_at_all_is_not_waited_for(serving: Relay, reaches: Callable[[str], None]) -> None:
    reaches("header_timeout")
    with Raw(serving) as raw:
        assert status(raw.answer()) == (408, "request-timeout")


@pytest.mark.parametrize("framing", ["Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n186a0\r\n"])
def test_a_body_comes_in_time_or_not_at_all(serving: Relay, framing: str, reaches: Callable[[str], None]) -> None:
    reaches("body_timeout")
    with Raw(serving) as raw:
        raw.send(POST + framing)
        raw.trickle('{"task": "' + "x" * 1000)
        assert status(raw.answer()) == (408, "request-timeout")


def test_a_body_that_nobody_asked_for_comes_in_time_too(serving: Relay) -> None:
    with Raw(serving) as raw:
        raw.send(GET + "Content-Length: 100000\r\n\r\n")
        assert raw.socket.recv(12) == b"HTTP/1.1 200"
        raw.trickle("x" * 200, 0.05)
        raw.answer()


@pytest.mark.parametrize("more", ["", "\r\n" * 200], ids=["quiet", "line ends"])
def test_an_idle_connection_is_closed(serving: Relay, more: str) -> None:
    with Raw(serving) as raw:
        raw.send(GET + "\r\n")
        assert raw.socket.recv(12) == b"HTTP/1.1 200"
        raw.socket.recv(65536)
        start = time.monotonic()
        for each in more:
            try:
                raw.send(each)
                time.sleep(0.02)  # it is slow
            except ConnectionError:
                break
        raw.answer()
        assert time.monotonic() - start < 6


def test_half_closed_connections_are_closed(serving: Relay) -> None:
    for said in ("", GET, POST + "Content-Length: 10\r\n\r\n12"):
        with Raw(serving) as raw:
            raw.send(said)
            raw.socket.shutdown(socket.SHUT_WR)
            raw.answer()
    with Raw(serving).upgraded() as raw:
        raw.socket.shutdown(socket.SHUT_WR)
        raw.answer()


def test_a_websocket_that_does_not_say_connect_is_stale(serving: Relay, reaches: Callable[[str], None]) -> None:
    reaches("connect_timeout")
    with Raw(serving).upgraded() as raw:
        raw.send(text(b'{"id":1,"connect":{}}')[:-1])
        assert raw.code() == 3502


# In pieces.


def test_a_conversation_may_come_one_byte_at_a_time(serving: Relay) -> None:
    with Raw(serving) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in (UPGRADE + "\r\n").encode():
            raw.send(bytes((byte,)))
        while not raw.socket.recv(4096).endswith(b"\r\n\r\n"):
            pass
        for byte in text(b'{"id":1,"connect":{}}'):
            raw.send(bytes((byte,)))
        assert b'{"id":1,"connect":{"client":' in raw.socket.recv(4096)


def test_a_message_may_come_in_ten_thousand_fragments(serving: Relay) -> None:
    said = b'{"id":2,"ping":{}}'.ljust(10_000)
    frames = [text(bytes((each,)), fin=False, opcode=Opcode.CONT) for each in said]
    frames[0], frames[-1] = text(said[:1], fin=False), text(said[-1:], opcode=Opcode.CONT)
    with talking(serving) as one, Raw(serving).upgraded() as raw:
        raw.send(text(b'{"id":1,"connect":{}}') + b"".join(frames))
        one.send('{"id":9,"ping":{}}')
        assert '"id":9' in str(one.recv(timeout=5)), "others are served meanwhile"
        got = b""
        while b'{"id":2,"ping":{}}' not in got:
            got += raw.socket.recv(4096)


@contextmanager
def talking(serving: Relay) -> Iterator[ClientConnection]:
    """A client that has connected."""
    with connect(serving.ws_url, compression=None) as one:
        one.send('{"id":1,"connect":{}}')
        assert '"id":1,"connect"' in str(one.recv(timeout=10))
        yield one


# Too much.


def test_a_path_is_bounded(serving: Relay, reaches: Callable[[str], None]) -> None:
    reaches("max_path")
    with Raw(serving) as raw:
        raw.send(f"GET /{'x' * 40_000} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status(raw.answer()) == (414, "path-too-long")


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        ("".join(f"X-{number}: 1\r\n" for number in range(101)) + "\r\n", "max_headers"),
        ("".join(f"X-{number}: {'x' * 4000}\r\n" for number in range(10)) + "\r\n", "max_header_bytes"),
        (f"X-Endless: {'x' * 100_000}", "max_header_bytes"),
    ],
)
def test_headers_are_bounded(serving: Relay, headers: str, limit: str, reaches: Callable[[str], None]) -> None:
    reaches(limit)
    with Raw(serving) as raw:
        raw.send(GET + headers)
        assert status(raw.answer()) == (431, "headers-too-large")


def test_a_handshakes_headers_are_bounded(serving: Relay) -> None:
    with Raw(serving) as raw:
        raw.send(UPGRADE + f"X-Long: {'x' * 9000}\r\n\r\n")
        assert raw.answer().startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "framing", ["Content-Length: {size}\r\n\r\n{body}", "Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}"]
)
def test_a_body_is_bounded(serving: Relay, framing: str, reaches: Callable[[str], None]) -> None:
    reaches("max_body")
    size = (1 << 20) + 1
    with Raw(serving) as raw:
        raw.send(POST + framing.format(size=size, body="x" * size))
        assert raw.socket.recv(12) == b"HTTP/1.1 413"


def test_a_message_is_bounded(serving: Relay, reaches: Callable[[str], None]) -> None:
    reaches("max_message")
    with Raw(serving).upgraded() as raw:
        raw.send(text(b" " * 40_000, fin=False) + text(b" " * 40_000, opcode=Opcode.CONT))
        assert raw.code() == 1009


def test_requests_that_are_piled_up_are_answered_one_after_the_other(serving: Relay) -> None:
    with Raw(serving) as raw:
        raw.send((GET + "\r\n") * 500 + GET + "Connection: close\r\n\r\n")
        assert raw.answer().count(b'{"status":"ok"}') == 501


def test_who_sends_too_fast_is_read_more_slowly_and_not_cut_off(serving: Relay, reaches: Callable[[str], None]) -> None:
    reaches("max_commands")
    with talking(serving) as fast:
        start, count = time.monotonic(), 3 * COMMANDS
        for start_at in range(2, count + 2, 100):
            fast.send("\n".join(f'{{"id":{number},"ping":{{}}}}' for number in range(start_at, start_at + 100)))
        got = 0
        while got < count:
            got += str(fast.recv(timeout=10)).count('"ping"')
        assert time.monotonic() - start >= 1.5


def test_a_flood_of_pings_is_answered_as_it_is_read(serving: Relay, reaches: Callable[[str], None]) -> None:
    reaches("max_commands")
    memory = resident(serving.pid)
    with talking(serving) as good, Raw(serving).upgraded() as raw:
        raw.send(text(b'{"id":1,"connect":{}}'))
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.socket.settimeout(0.5)
        ping, sent = text(b"x" * 125, opcode=Opcode.PING) * 100, 0
        with suppress(TimeoutError):
            while sent < 1 << 26:
                sent += raw.socket.send(ping)
        assert sent < 1 << 26, "the relay reads no more than it has to"
        good.send('{"id":2,"ping":{}}')
        assert '"id":2' in str(good.recv(timeout=5))
    assert resident(serving.pid) - memory < 16 << 20


def test_replies_are_not_piled_up(serving: Relay, valkey: Valkey) -> None:
    append(valkey, *[event(f"t{number}", "SUCCESS", argsrepr="x" * 3000) for number in range(100)])
    with talking(serving) as good, talking(serving) as greedy:
        memory = resident(serving.pid)
        said = "\n".join(f'{{"id":{number},"history":{{"channel":"tasks","limit":-1}}}}' for number in range(2, 1000))
        greedy.send(said)
        good.send('{"id":2,"ping":{}}')
        assert '"id":2' in str(good.recv(timeout=5))
        assert resident(serving.pid) - memory < 32 << 20, "what it asks for at once would be 250 MiB"


# Nonsense.


def test_compression_is_not_spoken(serving: Relay) -> None:
    with Raw(serving) as raw:
        raw.send(UPGRADE + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += raw.socket.recv(1)
        assert b"extensions" not in head.lower()
        raw.send(bytes((0xC1, 0x80 | 100)) + bytes(104))  # RSV1: a compressed message
        assert raw.code() == 1002


DEEP = "[" * 30_000 + "]" * 30_000
NUMBER = "9" * 60_000
MESSAGES: dict[str, tuple[str, Any]] = {
    "deeply nested": (f'{{"id":2,"rpc":{{"method":"submit","data":{DEEP}}}}}', 3501),
    "deeply nested, passed over": (f'{{"id":2,"ping":{{"x":{DEEP}}}}}', 3501),
    "a long number for an id": (f'{{"id":{NUMBER},"ping":{{}}}}', 3501),
    "a long number": (f'{{"id":2,"rpc":{{"method":"get","data":{{"id":{NUMBER}}}}}}}', 107),
    "a lone surrogate": ('{"id":2,"subscribe":{"channel":"task:\\ud800"}}', 3501),
    "NUL in a channel": ('{"id":2,"subscribe":{"channel":"task:a\\u0000b"}}', "subscribe"),
    "NUL in an id": ('{"id":2,"rpc":{"method":"get","data":{"id":"a\\u0000b"}}}', "rpc"),
    "NUL in a chosen id": (
        '{"id":2,"rpc":{"method":"submit","data":{"task":"tasks.add","args":[1,2],"options":{"task_id":"\\u0000"}}}}',
        107,
    ),
    "NUL in a task's name": ('{"id":2,"rpc":{"method":"submit","data":{"task":"tasks\\u0000add"}}}', 104),
    "a bare NUL": ("\0", 3501),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_nonsense_is_answered_or_ends_it(serving: Relay, name: str) -> None:
    said, expected = MESSAGES[name]
    with talking(serving) as one:
        one.send(said)
        told: dict[str, Any] = {}
        with suppress(ConnectionClosed):
            told = json.loads(str(one.recv(timeout=10)))
        assert expected in (told.get("error", {}).get("code"), one.close_code, *told)


BODIES: dict[str, tuple[str | bytes, int]] = {
    "deeply nested": ('{"task":"tasks.add","args":' + "[" * 300_000, 400),
    "a number of a million digits": ('{"task":"tasks.add","args":[1,' + "9" * 1_000_000 + "]}", 400),
    "a lone surrogate": ('{"task":"tasks.add","args":["\\ud800",1]}', 400),
    "no UTF-8": (b'{"task":"tasks.add","args":["\xff"]}', 400),
    "NUL in an id": ('{"task":"tasks.add","args":[1,2],"options":{"task_id":"a\\u0000"}}', 422),
    "NUL in a queue": ('{"task":"tasks.add","args":[1,2],"options":{"queue":"a\\u0000"}}', 422),
}


@pytest.mark.parametrize("name", BODIES)
def test_nonsense_in_a_body_is_a_problem(serving: Relay, name: str) -> None:
    body, expected = BODIES[name]
    data = body.encode() if isinstance(body, str) else body
    with Raw(serving) as raw:
        raw.send(POST.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        assert status(raw.answer())[0] == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("GET /api/tasks/a%00b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        ("GET /api/events?channel=task:%00&since=%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n", 400),
        ("GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        ("\0" * 100, 400),
    ],
)
def test_nonsense_in_a_head_is_a_problem(serving: Relay, head: str, expected: int) -> None:
    with Raw(serving) as raw:
        raw.send(head)
        assert status(raw.answer())[0] == expected


def test_an_offer_of_another_protocol_is_passed_over(serving: Relay) -> None:
    with Raw(serving) as raw:
        raw.send(GET + "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
        assert raw.socket.recv(12) == b"HTTP/1.1 200"


def test_what_was_sent_is_forgotten(serving: Relay) -> None:
    """A million digits, deep nesting and so on have left nothing behind, nor any connection."""
    assert counted(serving, "max_connections") == 0
    files = Path(f"/proc/{serving.pid}/fd")
    if files.exists():
        wait_for(lambda: len(list(files.iterdir())) < 60, what="all connections to be closed")


def test_line_ends_before_a_request_are_bounded(serving: Relay) -> None:
    with Raw(serving) as raw, suppress(ConnectionError):
        raw.send("\r\n" * 100_000)
        assert status(raw.answer()) == (431, "headers-too-large")
