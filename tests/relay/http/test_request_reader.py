"""From bytes to requests, however they are cut, and what is too large for one."""

from __future__ import annotations

import pytest

from watcher.core.errors import BadRequest, HeadersTooLarge, PathTooLong, Refused
from watcher.core.settings import Settings
from watcher.relay.http.request_reader import RequestHead, RequestReader

SETTINGS = Settings(max_path=100, max_headers=5, max_header_bytes=200)
POST = b"POST /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX-Y: z\r\nContent-Length: 5\r\n\r\nhello"
UPGRADE = b"GET /w HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


class Owner:
    """Puts down what it is told."""

    def __init__(self) -> None:
        self.heads: list[RequestHead] = []
        self.bodies: list[bytes] = []
        self.followed = 0
        self.limits: list[str] = []
        self.complete = 0

    def request_begins(self) -> None:
        self.followed += 1

    def request_head(self, head: RequestHead) -> None:
        self.heads.append(head)
        self.bodies.append(b"")

    def request_body(self, data: bytes) -> None:
        self.bodies[-1] += data

    def request_ends(self) -> None:
        self.complete += 1

    def limit_reached(self, limit: str) -> None:
        self.limits.append(limit)


def read(data: bytes, size: int = 10_000, owner: Owner | None = None) -> tuple[Owner, bytes | None]:
    owner, following = owner or Owner(), None
    reader = RequestReader(owner, SETTINGS)
    for start in range(0, len(data), size):
        following = reader.feed(data[start : start + size])
    reader.close()
    return owner, following


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_requests_are_the_same_however_they_are_cut(size: int) -> None:
    owner, following = read(POST + POST, size)
    assert following is None
    assert owner.bodies == [b"hello", b"hello"]
    assert (owner.complete, owner.followed) == (2, 1)
    first, second = owner.heads
    assert first == second
    assert (first.method, first.path, first.raw_path, first.query) == ("POST", "/a b", b"/a%20b", b"c=d")
    assert first.headers == [(b"host", b"h"), (b"x-y", b"z"), (b"content-length", b"5")]
    assert (first.http_version, first.keep_alive, first.upgrade, first.expects_continue) == ("1.1", True, False, False)


@pytest.mark.parametrize(
    ("line", "keep_alive"),
    [("HTTP/1.1\r\nConnection: close", False), ("HTTP/1.0", False), ("HTTP/1.0\r\nConnection: keep-alive", False)],
)
def test_a_connection_is_kept_only_where_both_know_how(line: str, keep_alive: bool) -> None:
    owner, _ = read(f"GET / {line}\r\nHost: h\r\n\r\n".encode())
    assert [head.keep_alive for head in owner.heads] == [keep_alive]


def test_what_follows_a_handshake_is_handed_back() -> None:
    owner, following = read(UPGRADE + b"\x81\x00")
    assert following == b"\x81\x00"
    assert [(head.upgrade, head.url) for head in owner.heads] == [(True, b"/w")]


def test_offers_of_other_protocols_are_passed_over() -> None:
    owner, following = read(UPGRADE.replace(b"WebSocket", b"h2c"))
    assert following is None
    assert [(head.upgrade, head.path) for head in owner.heads] == [(False, "/w")]


@pytest.mark.parametrize(
    ("data", "error", "limit"),
    [
        (b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 100), PathTooLong, "max_path"),
        (b"GET /" + b"x" * 20_000, PathTooLong, "max_path"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 6 + b"\r\n", HeadersTooLarge, "max_headers"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 5000 + b"\r\n\r\n", HeadersTooLarge, "max_header_bytes"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000, HeadersTooLarge, "max_header_bytes"),
    ],
)
def test_what_is_too_large_is_refused_as_soon_as_it_is_seen(data: bytes, error: type[Refused], limit: str) -> None:
    owner = Owner()
    with pytest.raises(error):
        read(data, 4096, owner)
    assert owner.limits == [limit]
    assert owner.heads == []


@pytest.mark.parametrize(
    "data", [b"nonsense\r\n\r\n", b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", b"CONNECT h:80 HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    owner = Owner()
    with pytest.raises(BadRequest):
        RequestReader(owner, SETTINGS).feed(data)
    assert (owner.heads, owner.limits) == ([], [])
