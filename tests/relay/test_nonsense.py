"""What no client should send: an answer or an end with the right code, and no traceback."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.relay.raw import (
    GET,
    POST,
    UPGRADE,
    Raw,
    counted,
    status,
    talking,
)
from tests.support.processes import Relay
from tests.support.waiting import wait_for


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
