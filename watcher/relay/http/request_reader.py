"""From bytes to the requests in them, with bounds on what stands before a body. No I/O.

httptools parses; what it says goes on by way of whoever owns this.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote

import httptools

from watcher.core.errors import BadRequest, HeadersTooLarge, PathTooLong, Refused
from watcher.core.settings import Settings

__all__ = ["BITE", "RequestHead", "RequestOwner", "RequestReader"]

#: So much of what a client sent is looked at before others have their turn, in bytes.
BITE: Final = 4 * 1024
_NOBODY: Final[Any] = None


class RequestHead(NamedTuple):
    """What stands before a request's body.

    :param url: as it was sent; ``path``: of it, decoded; ``raw_path``: of it, as it was sent. Both are empty where it
        is to become a WebSocket.
    :param headers: name in lower case and value of each.
    :param upgrade: whether it is to become a WebSocket.
    :param keep_alive: whether the connection may have another request.
    :param expects_continue: whether the client waits for leave before it sends the body.
    """

    method: str
    url: bytes
    path: str
    raw_path: bytes
    query: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]
    upgrade: bool
    keep_alive: bool
    expects_continue: bool


class RequestOwner(Protocol):
    """Who is told what came, in order."""

    def request_begins(self) -> None:
        """The first bytes of a request that follows another at once."""

    def request_head(self, head: RequestHead) -> None:
        """All that stands before its body."""

    def request_body(self, data: bytes) -> None:
        """A part of its body."""

    def request_ends(self) -> None:
        """It is complete."""

    def limit_reached(self, limit: str) -> None:
        """It is larger than this setting allows, and will be refused."""


class RequestReader:
    """Reads one connection's requests.

    ``heading``: bytes that have come of a head that is not complete; None while there is none.

    :param owner: is told; it ends the connection where :meth:`feed` raises.
    """

    __slots__ = ("_headers", "_owner", "_parser", "_refusal", "_settings", "_upgrade", "_url", "heading")

    def __init__(self, owner: RequestOwner, settings: Settings) -> None:
        self._owner = owner
        self._settings = settings
        self._parser: Any = httptools.HttpRequestParser(self)
        # Of requests that come together the first is answered, though it says that the connection ends with it.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._refusal: Refused | None = None  # why the parser was stopped
        self._upgrade = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self.heading: int | None = 0

    def close(self) -> None:
        """The connection is gone: it, this and the parser know each other, and none would be freed at once."""
        self._parser = self._owner = _NOBODY

    def feed(self, data: bytes) -> bytes | None:
        """Look at what has come; returns what follows a request that becomes a WebSocket, None where there is none.

        Whoever knows that it will be let in may speak at once.

        :raises Refused: it is no request, or one that is too large.
        """
        if self.heading is not None:
            self.heading += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._upgrade:
                return data[upgrade.args[0] :]
        except httptools.HttpParserError:
            raise self._refusal or BadRequest("Invalid HTTP request received.") from None
        self._check_heading()
        return None

    def _check_heading(self) -> None:
        """The parser tells of a header when it is complete: one that never is has a bound too."""
        settings = self._settings
        if (self.heading or 0) <= settings.max_path + settings.max_header_bytes + 2 * BITE:
            return
        if len(self._url) > settings.max_path:
            self._refuse("max_path", PathTooLong(f"a path may have at most {settings.max_path} bytes"))
        self._refuse("max_header_bytes", _too_large(settings))

    def _refuse(self, limit: str, error: Refused) -> None:
        self._owner.limit_reached(limit)
        self._refusal = error
        raise error  # where the parser called, it stops

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = []
        self._upgrade = False
        if self.heading is None:
            self._owner.request_begins()
        self.heading = BITE  # which it is in

    def on_url(self, url: bytes) -> None:
        """A part of its URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """All headers have come; the body may follow."""
        settings, parser, headers = self._settings, self._parser, self._headers
        if len(self._url) > settings.max_path:
            self._refuse("max_path", PathTooLong(f"a path may have at most {settings.max_path} bytes"))
        if len(headers) > settings.max_headers:
            self._refuse("max_headers", HeadersTooLarge(f"a request may have at most {settings.max_headers} headers"))
        if (self.heading or 0) > settings.max_header_bytes and _size(headers) > settings.max_header_bytes:
            self._refuse("max_header_bytes", _too_large(settings))
        self.heading = None
        self._upgrade = parser.should_upgrade() and _wants_websocket(headers)
        version, method = parser.get_http_version(), parser.get_method().decode("ascii")
        path, query = (b"", b"") if self._upgrade else _parts(self._url)
        self._owner.request_head(
            RequestHead(
                method=method, url=self._url, path=unquote(path.decode("ascii")), raw_path=path, query=query,
                http_version=version, headers=headers, upgrade=self._upgrade,
                keep_alive=version != "1.0" and parser.should_keep_alive(),
                expects_continue=any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers),
            )
        )  # fmt: skip

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self._upgrade:
            self._owner.request_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._owner.request_ends()


def _wants_websocket(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the last of its headers say so; offers of other protocols are passed over (RFC 9110, 7.8)."""
    fields = dict(headers)
    tokens = [token.strip() for token in fields.get(b"connection", b"").lower().split(b",")]
    return b"upgrade" in tokens and fields.get(b"upgrade", b"").lower() == b"websocket"


def _parts(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a URL as it was sent. Whatever it raises, the parser stops."""
    parsed = httptools.parse_url(url)
    if parsed.path is None:
        raise BadRequest("Invalid HTTP request received.")
    return parsed.path, parsed.query or b""


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _too_large(settings: Settings) -> Refused:
    return HeadersTooLarge(f"the headers of a request may have at most {settings.max_header_bytes} bytes")
