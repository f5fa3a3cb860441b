"""What hostile clients send to a real relay, byte by byte: an answer or an end with the right code, no traceback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from websockets.frames import Opcode

from tests.faults.stage import resident
from tests.relay.raw import (
    COMMANDS,
    GET,
    HEADER,
    POST,
    UPGRADE,
    Raw,
    status,
    talking,
    text,
)
from tests.relay.serving import append
from tests.support.events import event
from tests.support.processes import Relay
from tests.support.valkey import Valkey

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
        assert '"id":9' in str(one.recv(timeout=20)), "others are served meanwhile"
        got = b""
        while b'{"id":2,"ping":{}}' not in got:
            got += raw.socket.recv(4096)


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
        raw.send(text(b" " * 140_000, fin=False) + text(b" " * 140_000, opcode=Opcode.CONT))
        assert raw.code() == 1009


def test_pipelined_requests_are_answered_in_order(serving: Relay) -> None:
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


def test_a_flood_of_pings_is_answered_as_it_is_read(serving: Relay) -> None:
    # Whether it is its pace or the room for its pongs that ends first depends on how fast the machine is.
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
        while '"id":2' not in str(good.recv(timeout=20)):
            pass  # the relay's own ping
    assert resident(serving.pid) - memory < 16 << 20


def test_replies_are_not_piled_up(serving: Relay, valkey: Valkey) -> None:
    append(valkey, *[event(f"t{number}", "SUCCESS", argsrepr="x" * 3000) for number in range(100)])
    with talking(serving) as good, talking(serving) as greedy:
        memory = resident(serving.pid)
        said = "\n".join(f'{{"id":{number},"history":{{"channel":"tasks","limit":-1}}}}' for number in range(2, 1000))
        greedy.send(said)
        good.send('{"id":2,"ping":{}}')
        while '"id":2' not in str(good.recv(timeout=20)):
            pass  # the relay's own ping
        assert resident(serving.pid) - memory < 32 << 20, "what it asks for at once would be 250 MiB"
