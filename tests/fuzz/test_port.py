"""Random bytes and mutated handshakes on the relay's port: each is answered rightly, or the connection ends."""

from __future__ import annotations

import random
import re

import pytest

from tests.fuzz import garbage
from tests.fuzz.budget import cases, seconds, told
from tests.fuzz.stage import Caller, Stage

HANDSHAKE = [
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
    b"Origin: http://localhost",
]
_TARGETS = (
    b"/connection/websocket", b"/x/connection/websocket?a=b", b"//connection/websocket", b"/", b"*", b"/%00", b"/%",
    b"http://evil.example/connection/websocket", b"/../connection/websocket", b"/connection/websocket#x", b"",
    b"/\xff", b"/" + b"a" * 70_000, b"/connection/websocket\x00", b"/healthz", b"/api/tasks?limit=1",
)  # fmt: skip
_VERSIONS = (b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/9.9", b"http/1.1", b"")
_METHODS = (b"GET",) * 6 + (b"POST", b"HEAD", b"OPTIONS", b"get", b"PRI", b"CONNECT", b"X" * 300, b"", b"G\0T")
#: What a client may be told that sends nonsense, or something right after all.
_ANSWERS = {
    101, 200, 202, 204, 304, 307, 400, 401, 403, 404, 405, 409, 410, 411, 413, 414, 415, 422, 426, 431, 505,
}  # fmt: skip
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
#: The log says who was refused, and that something was no HTTP.
EXPECTED = (
    "Invalid HTTP request received", "refused ", "Unsupported upgrade request", "is none that a relay",
)  # fmt: skip


def check(answer: bytes) -> list[int]:
    """The statuses of the answers: each is one that a client's input may lead to."""
    found = [int(status) for status in _STATUS.findall(answer)]
    assert not answer or answer.startswith(b"HTTP/1.1 "), f"no HTTP: {answer[:200]!r}"
    assert set(found) <= _ANSWERS, f"answered {found}: {answer[:500]!r}"
    return found


def send(against: Stage, pieces: list[bytes]) -> bytes:
    with Caller(against.address) as caller:
        for piece in pieces:
            if not caller.say(piece):
                break
        return caller.hang_up()


@pytest.mark.timeout(120 + seconds("bytes"))
def test_random_bytes(stage: Stage) -> None:
    for number, dice in cases("bytes"):
        data = dice.randbytes(dice.choice((1, 16, 300, 5000, 70_000)))
        if dice.random() < 0.3:
            data = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + data
        with told("random_bytes", number, data):
            check(send(stage, [data]))
            stage.breathe()
    stage.judge(*EXPECTED)


def handshake(
    lines: list[bytes],
    *,
    method: bytes = b"GET",
    target: bytes = _TARGETS[0],
    version: bytes = b"HTTP/1.1",
    end: bytes = b"\r\n",
) -> bytes:
    return end.join((b" ".join((method, target, version)), *lines, b"", b""))


@pytest.mark.slow
@pytest.mark.timeout(120 + seconds("handshakes"))
def test_mutated_handshakes(stage: Stage) -> None:
    for number, dice in cases("handshakes"):
        pieces = mutated_handshake(dice)
        with told("mutated_handshakes", number, pieces):
            check(send(stage, pieces))
            stage.breathe()
    stage.judge(*EXPECTED)


def mutated_handshake(dice: random.Random) -> list[bytes]:
    lines = garbage.headers(dice, HANDSHAKE) if dice.random() < 0.8 else list(HANDSHAKE)
    odd = dice.random() < 0.4
    data = handshake(
        lines,
        method=dice.choice(_METHODS) if odd else b"GET",
        target=dice.choice(_TARGETS) if odd else _TARGETS[0],
        version=dice.choice(_VERSIONS) if odd else b"HTTP/1.1",
        end=dice.choice((b"\r\n",) * 5 + (b"\n", b"\r", b"\r\r\n")),
    )
    if dice.random() < 0.3:
        data += dice.choice((data, dice.randbytes(100), garbage.mangled(dice, data)))
    cut = dice.randrange(len(data) + 1)
    return [data[:cut], data[cut:]] if dice.random() < 0.3 else [data]


_BODY = b'{"task":"tasks.add","args":[1,2]}'
_INNER = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 4", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 4"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding : chunked"],
        [b"Transfer-Encoding:\x0bchunked"],
        [b"Content-Length: 4", b"Content-Length: 5"],
        [b"Content-Length: +4"],
        [b"Content-Length: 4, 4"],
        [b"Content-Length: -1"],
        [b"Content-Length: 99999999999999999999999"],
        [b"X: y\r", b" Content-Length: 4"],
    ],
    ids=repr,
)
def test_no_request_is_smuggled_in_the_body_of_another(stage: Stage, lines: list[bytes]) -> None:
    """Where two servers could see the body's end in different places (RFC 9112, 11.2), the relay sees no request."""
    head = handshake(
        [b"Host: localhost", b"Content-Type: application/json", *lines], method=b"POST", target=b"/api/tasks"
    )
    answer = send(stage, [head + b"0\r\n\r\n" + _INNER + _BODY])
    assert b'{"status":"ok"}' not in answer, answer
    assert check(answer) in ([400], []), answer
