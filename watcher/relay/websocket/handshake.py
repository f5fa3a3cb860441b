"""The opening handshake of RFC 6455 as nearly every client sends it, read and answered at once.

websockets' parser can be fed byte by byte, and answers whatever comes; that was a quarter of what a connection costs
until it is subscribed. Here is only what comes whole and is right. All else is left to websockets, which says what is
wrong with it, so that whoever is let in here would be let in there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from watcher.centrifuge.protocol import PATH
from watcher.relay.security.forwarded import Lines, Peer

__all__ = ["NO_UPGRADE", "PATH", "PROTOBUF", "Handshake", "answer", "asks_for_protobuf", "objection", "read"]

#: What a request to that address is told which is no handshake.
NO_UPGRADE: Final = (
    "this is the WebSocket's address, but the request lacks 'Connection: Upgrade' and 'Upgrade: websocket': "
    "where a WebSocket client sent it, a proxy before the relay has dropped them, and must be told to pass them on"
)
#: What a client is told that wants the protocol in its other form.
PROTOBUF: Final = (
    "protobuf is not served: only the protocol's JSON form is, in text frames, "
    "with the sub-protocol centrifuge-json or none; use the SDK's JSON client, if it has one"
)
_PROTOCOL: Final = "Sec-WebSocket-Protocol"
_JSON: Final = "centrifuge-json"
#: How clients of Centrifugo say that they want protobuf: a sub-protocol, or a parameter of the address.
_OTHER: Final = "centrifuge-protobuf"
_PARAMETERS: Final = frozenset((("cf_protocol", "protobuf"), ("format", "protobuf")))

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


def asks_for_protobuf(target: str) -> bool:
    """Whether the address of a handshake asks for the protocol as protobuf."""
    return "protobuf" in target and not _PARAMETERS.isdisjoint(parse_qsl(target.partition("?")[2]))


def answer(protocol: ServerProtocol, request: Request) -> Response:
    """What answers a handshake as websockets has read it, where nothing else stands against it.

    An empty header of sub-protocols, as centrifuge-python sends it up to 0.6, offers none.
    """
    offered = ",".join(request.headers.get_all(_PROTOCOL)).replace(",", " ").split()
    if _OTHER in offered and _JSON not in offered:
        return protocol.reject(HTTPStatus.BAD_REQUEST, f"{PROTOBUF}\n")
    if not offered:
        request.headers.pop(_PROTOCOL, None)
    response = protocol.accept(request)
    if response.status_code == HTTPStatus.UPGRADE_REQUIRED:
        response = protocol.reject(HTTPStatus.UPGRADE_REQUIRED, f"{NO_UPGRADE}\n")
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "Upgrade"  # beside "close": RFC 9110, 7.8
    elif response.status_code == HTTPStatus.SWITCHING_PROTOCOLS and _JSON in offered:
        response.headers[_PROTOCOL] = _JSON
    return response


def objection(
    target: str, peer: Peer, lines: Lines, refusal: Callable[[Peer, Lines], str | None]
) -> tuple[HTTPStatus, str] | None:
    """Why a request gets no WebSocket, as status and text; None where it gets one.

    :param target: what it asks for: path and query.
    :param refusal: why this peer is refused, or None; asked only where the path is right.
    """
    if not target.partition("?")[0].endswith(PATH):
        return HTTPStatus.NOT_FOUND, f"the WebSocket is at {PATH}\n"
    if (reason := refusal(peer, lines)) is not None:
        return HTTPStatus.FORBIDDEN, f"{reason}\n"
    return (HTTPStatus.BAD_REQUEST, f"{PROTOBUF}\n") if asks_for_protobuf(target) else None
