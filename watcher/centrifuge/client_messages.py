"""What a client hears: the Centrifuge client protocol, JSON, version 2, as the client reads it. Pure.

The relay's side is :mod:`watcher.centrifuge.messages`, which has the codes, too. Values of events and calls stay JSON
text here (``Raw``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from watcher.centrifuge.protocol import EMPTY

__all__ = [
    "ALL_KEPT",
    "ChannelPosition",
    "CommandError",
    "Connected",
    "Push",
    "ReceivedPublication",
    "ServerMessage",
    "Subscribed",
    "messages",
]


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


class CallReply(msgspec.Struct, frozen=True):
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
    rpc: CallReply | None = None
    refresh: Connected | None = None
    push: Push | None = None


_decoder = msgspec.json.Decoder(ServerMessage)


def messages(frame: bytes) -> Iterator[ServerMessage | None]:
    """The messages of one frame, in order; None is a ping.

    :raises msgspec.MsgspecError: a line is no message.
    """
    for line in frame.split(b"\n"):
        if line == EMPTY:
            yield None
        elif line:
            yield _decoder.decode(line)
