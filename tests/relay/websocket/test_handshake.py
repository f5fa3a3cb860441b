"""The short way to read a handshake, held against websockets' parser: it lets in nobody whom that would not."""

from __future__ import annotations

import random

import pytest
from websockets.client import ClientProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tests.fuzz import garbage
from watcher.relay.websocket.handshake import PATH, read

FIELDS = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
#: What browsers send beside that.
BROWSERS = {
    "Chromium": {
        "Pragma": "no-cache", "Cache-Control": "no-cache", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
        "Origin": "http://localhost", "Accept-Encoding": "gzip, deflate, br, zstd", "Accept-Language": "de-DE,de;q=0.9",
        "Cookie": "a=1; b=2", "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    },
    "Firefox": {
        "Connection": "keep-alive, Upgrade", "Origin": "http://localhost", "Sec-Fetch-Mode": "websocket",
        "Sec-WebSocket-Extensions": "permessage-deflate",
    },
    "nginx": {"Connection": "upgrade", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"},
}  # fmt: skip


def handshake(fields: dict[str, str], *more: str, target: str = PATH) -> bytes:
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join((f"GET {target} HTTP/1.1", *lines, *more, "", "")).encode("iso-8859-1")


def answered(data: bytes) -> tuple[Request, bytes]:
    """What websockets reads, and what it answers, without the time."""
    protocol = ServerProtocol()
    protocol.receive_data(data)
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    response = protocol.accept(request)
    response.headers.pop("Date", None)
    return request, response.serialize()


def check(data: bytes) -> bool:
    """Whether it was read; then websockets reads and answers the same."""
    found = read(data)
    if found is None:
        return False
    request, answer = answered(data)
    assert found.target == request.path
    assert found.answer == answer
    for name in request.headers:
        assert list(found.lines(name)) == request.headers.get_all(name)
    assert not found.lines("absent")
    return True


@pytest.mark.parametrize("more", BROWSERS.values(), ids=BROWSERS)
def test_what_browsers_and_proxies_send(more: dict[str, str]) -> None:
    assert check(handshake(FIELDS | more))


def test_header_value_is_stripped_of_spaces_and_tabs_only() -> None:
    assert check(handshake(FIELDS, "A:\t b c \t", "D:\xa0e\x85", "F:"))


@pytest.mark.parametrize("secure", ["ws", "wss"])
def test_what_libraries_send(secure: str) -> None:
    client = ClientProtocol(parse_uri(f"{secure}://localhost:5556/relay{PATH}?token=x"))
    client.send_request(client.connect())
    assert check(b"".join(client.data_to_send()))


@pytest.mark.parametrize(
    "data",
    [
        handshake(FIELDS)[:-2],
        handshake(FIELDS) + b"\x81",
        handshake(FIELDS).replace(b"GET", b"POST"),
        handshake(FIELDS).replace(b"HTTP/1.1", b"HTTP/1.0"),
        handshake(FIELDS).replace(b"\r\n", b"\n"),
        handshake(FIELDS, target="http://localhost/connection/websocket"),
        handshake(FIELDS, target="/a b"),
        handshake(FIELDS, "Upgrade: websocket"),
        handshake(FIELDS, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        handshake(FIELDS, "Origin: http://a.example", "Origin: http://b.example"),
        handshake(FIELDS, "Content-Length: 5"),
        handshake(FIELDS, "Transfer-Encoding: chunked"),
        handshake(FIELDS, "Sec-WebSocket-Protocol: a"),
        handshake(FIELDS, " folded"),
        handshake(FIELDS, "Name : value"),
        handshake(FIELDS, "no colon"),
        handshake(FIELDS, "X: \0"),
        handshake(FIELDS, *(f"X-{number}: 1" for number in range(96))),
        handshake(FIELDS, f"Cookie: {'x' * 4000}"),
        *(handshake({each: value for each, value in FIELDS.items() if each != name}) for name in [*FIELDS][1:]),
        *(handshake(FIELDS | {name: "?"}) for name in [*FIELDS][1:]),
        handshake(FIELDS | {"Upgrade": "websocket, h2c"}),
        handshake(FIELDS | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j"}),
        b"",
    ],
)
def test_all_else_is_left_to_websockets(data: bytes) -> None:
    assert read(data) is None


def test_mutated_handshakes_parse_as_in_websockets_or_not_at_all() -> None:
    dice = random.Random(20)
    whole = [handshake(FIELDS | more) for more in BROWSERS.values()]
    read = sum(check(garbage.mangled(dice, dice.choice(whole))) for _ in range(3000))
    assert 300 < read < 2700, f"{read} of 3,000 say nothing of the others"
