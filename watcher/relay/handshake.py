"""The opening handshake of RFC 6455 as nearly every client sends it, read and answered at once.

websockets' parser can be fed byte by byte, and answers whatever comes; that was a quarter of what a connection costs
until it is subscribed. Here is only what comes whole and is right. All else is left to websockets, which says what is
wrong with it, so that whoever is let in here would be let in there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from websockets.utils import accept_key

__all__ = ["PATH", "Handshake", "read"]

PATH: Final = "/connection/websocket"

_HEAD: Final = re.compile(
    rb"GET (/[!-~]*) HTTP/1\.1\r\n((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n){4,100})\r\n"
)
#: Sixteen bytes in base64.
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
_CONNECTION: Final = frozenset(("upgrade", "keep-alive, upgrade"))
#: Fields that few clients send, and that mean more than is looked at here.
_RARE: Final = frozenset(("content-length", "sec-websocket-protocol", "transfer-encoding"))
_LONGEST: Final = 4 * 1024
_ANSWER: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
)


class Handshake:
    """A request that opens a WebSocket.

    :param target: what it asked for: path and query.
    :param fields: values of each header, by its name in lower case.
    :param answer: what makes the connection a WebSocket.
    """

    __slots__ = ("_fields", "answer", "target")

    def __init__(self, target: str, fields: Mapping[str, Sequence[str]], answer: bytes) -> None:
        self.target = target
        self.answer = answer
        self._fields = fields

    def lines(self, name: str) -> Sequence[str]:
        """The values of a header."""
        return self._fields.get(name.lower(), ())


def read(data: bytes) -> Handshake | None:
    """The handshake that ``data`` is, all of it and nothing beside it; None where it is none, or not like most."""
    head = _HEAD.fullmatch(data) if len(data) <= _LONGEST else None
    if head is None:
        return None
    fields: dict[str, list[str]] = {}
    for line in head[2][:-2].decode("iso-8859-1").split("\r\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), []).append(value.strip(" \t"))

    def only(name: str) -> str:
        values = fields.get(name, ())
        return values[0] if len(values) == 1 else ""

    key = only("sec-websocket-key")
    usual = (
        only("upgrade").lower() == "websocket"
        and only("connection").lower() in _CONNECTION
        and only("sec-websocket-version") == "13"
        and _KEY.fullmatch(key)
        and len(fields.get("origin", ())) <= 1
        and fields.keys().isdisjoint(_RARE)
    )
    if not usual:
        return None
    return Handshake(head[1].decode("ascii"), fields, _ANSWER % accept_key(key).encode("ascii"))
