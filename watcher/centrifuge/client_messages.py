"""What a client says and hears: the Centrifuge client protocol, JSON, version 2, from the client's side. Pure.

The relay's side is ``watcher/centrifuge/messages.py``. Values of events and calls stay JSON text here (``Raw``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Raw

__all__ = [
    "ALL_KEPT",
    "FRAME_BYTES",
    "PONG",
    "ChannelPosition",
    "ReceivedPublication",
    "ServerMessage",
    "Subscribed",
    "command",
    "is_terminal",
    "messages",
    "socket_url",
]

PATH: Final = "/connection/websocket"
#: Largest frame that is sent, in bytes: a relay takes four times that, and may take less.
FRAME_BYTES: Final = 60 * 1024
PONG: Final = b"{}"


class ChannelPosition(NamedTuple):
    """What has been seen: every event of ``epoch`` up to ``offset``."""

    epoch: str
    offset: int


#: The position of somebody who has seen nothing and wants all that is kept.
ALL_KEPT: Final = ChannelPosition("", 0)


class ReceivedPublication(msgspec.Struct, frozen=True):
    """An event of a channel."""

    data: Raw
    offset: int = 0


class CommandError(msgspec.Struct, frozen=True):
    """Why a command was not carried out."""

    code: int = 0
    message: str = ""
    temporary: bool = False


class Connected(msgspec.Struct, frozen=True):
    """The reply to ``connect``; ``ttl`` and ``ping`` are in seconds."""

    expires: bool = False
    ttl: int = 0
    ping: int = 0
    pong: bool = False


class Subscribed(msgspec.Struct, frozen=True):
    """The reply to ``subscribe``."""

    epoch: str = ""
    offset: int = 0
    publications: tuple[ReceivedPublication, ...] = ()
    recovered: bool = False
    was_recovering: bool = False
    data: Raw = Raw(b"null")


class Answer(msgspec.Struct, frozen=True):
    """The reply to ``rpc``."""

    data: Raw = Raw(b"null")


class Unsubscribed(msgspec.Struct, frozen=True):
    """Why the relay ended a subscription."""

    code: int = 0
    reason: str = ""


class Push(msgspec.Struct, frozen=True):
    """What was not asked for by number."""

    channel: str = ""
    pub: ReceivedPublication | None = None
    unsubscribe: Unsubscribed | None = None


class ServerMessage(msgspec.Struct, frozen=True):
    """A line from the relay; an empty one is a ping."""

    id: int = 0
    error: CommandError | None = None
    connect: Connected | None = None
    subscribe: Subscribed | None = None
    rpc: Answer | None = None
    refresh: Connected | None = None
    push: Push | None = None


_decoder = msgspec.json.Decoder(ServerMessage)


def messages(frame: bytes) -> Iterator[ServerMessage | None]:
    """The messages of one frame, in order; None is a ping.

    :raises msgspec.MsgspecError: a line is no message.
    """
    for line in frame.split(b"\n"):
        if line == PONG:
            yield None
        elif line:
            yield _decoder.decode(line)


def command(identity: int, kind: str, body: Any) -> bytes:
    """The command ``kind`` with this number; ``body`` is its object, whose ``Raw`` parts are put in as they are."""
    return b'{"id":%d,"%s":%s}' % (identity, kind.encode("ascii"), msgspec.json.encode(body))


def is_terminal(code: int) -> bool:
    """Whether a close code says not to come back: 3500-3999 and 4500-4999, as the protocol has it."""
    return 3500 <= code < 4000 or 4500 <= code < 5000


def socket_url(url: str) -> str:
    """The address of the WebSocket of a relay at ``url``, which may be http(s):// or ws(s)://, below a path or not.

    :raises ValueError: it is none.
    """
    parts = urlsplit(url.strip())
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"{url!r} is not the address of a relay, such as http://127.0.0.1:5556")
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith(PATH) else path + PATH, parts.query, ""))
