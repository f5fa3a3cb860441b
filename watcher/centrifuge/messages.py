"""What client and relay may say, as the relay reads and writes it: the Centrifuge client protocol, JSON, version 2.

The protocol is public; ``client.proto`` of centrifugal/protocol is its source of truth, and the codes below are those
of centrifugal/centrifuge (``errors.go``, ``disconnect.go``, ``unsubscribe.go``). Messages are objects separated by
newlines inside a text frame, in both directions; absent numbers are 0 and absent strings are empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from watcher.centrifuge.protocol import SUBSCRIBE_AGAIN, numbered
from watcher.core.errors import BadRequest
from watcher.core.event import CHANNEL_LIMIT, OVERVIEW

__all__ = [
    "PONG",
    "Command",
    "ConnectRequest",
    "ConnectResult",
    "Disconnect",
    "ErrorReply",
    "HistoryRequest",
    "HistoryResult",
    "Publication",
    "RPCRequest",
    "RefreshRequest",
    "RefreshResult",
    "StreamPosition",
    "SubscribeRequest",
    "SubscribeResult",
    "UnsubscribeRequest",
    "channel_error",
    "commands",
    "encode",
    "error_reply",
    "limit_exceeded",
    "message_push",
    "publication",
    "publications",
    "reply",
    "state_push",
    "task_identity",
    "unserved",
    "unsubscribe_push",
    "why_not",
]

_ALONE: Final = ("tasks", OVERVIEW)
_NAMESPACES: Final = ("task:", "root:", "group:", "name:", "tag:")


class ConnectRequest(msgspec.Struct, frozen=True):
    """The first command of a connection."""

    token: str = ""
    data: Raw = Raw(b"")
    name: str = ""
    version: str = ""


class StreamPosition(msgspec.Struct, frozen=True):
    """What a client has seen of a channel."""

    offset: int = 0
    epoch: str = ""


class SubscribeRequest(msgspec.Struct, frozen=True):
    """``flag`` 2 asks for error 112 where the position can't be recovered.

    What begins with ``tf`` isn't served, see :func:`unserved`. ``delta``, ``join_leave`` and the rest of ``flag`` are
    offers: that the reply lacks them says that they aren't taken.
    """

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: int = 0
    flag: int = 0
    tf: Raw = Raw(b"")
    type: int = 0
    phase: int = 0
    cursor: str = ""
    limit: int = 0
    asc: bool = False


class UnsubscribeRequest(msgspec.Struct, frozen=True):
    """End a subscription."""

    channel: str = ""


class HistoryRequest(msgspec.Struct, frozen=True):
    """``limit`` 0 asks for the position alone, -1 for as many as the relay gives at once."""

    channel: str = ""
    limit: int = 0
    since: StreamPosition | None = None
    reverse: bool = False


class RPCRequest(msgspec.Struct, frozen=True):
    """Call a method with JSON data."""

    method: str = ""
    data: Raw = Raw(b"")


class RefreshRequest(msgspec.Struct, frozen=True):
    """Prolong the connection with a new token."""

    token: str = ""


class Command(msgspec.Struct, frozen=True):
    """One command; exactly one of the other fields is set. All absent and ``id`` 0: a pong."""

    id: int = 0
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    history: HistoryRequest | None = None
    rpc: RPCRequest | None = None
    refresh: RefreshRequest | None = None
    ping: dict[str, Any] | None = None
    publish: dict[str, Any] | None = None
    presence: dict[str, Any] | None = None
    presence_stats: dict[str, Any] | None = None
    sub_refresh: dict[str, Any] | None = None
    send: dict[str, Any] | None = None


PONG: Final = Command()


class _Get(msgspec.Struct):
    """The data of the method ``get``."""

    id: str


def task_identity(data: bytes) -> str:
    """The task that a call of ``get`` asks for.

    :raises BadRequest: it names none.
    """
    try:
        return msgspec.json.decode(data, type=_Get).id
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f'expected {{"id": TASK_ID}}: {error}') from None


class Publication(msgspec.Struct, frozen=True):
    """One event in a reply."""

    data: Raw
    offset: int


class ConnectResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """``ttl`` and ``ping`` are in seconds; ``pong`` asks the client to answer pings."""

    client: str
    version: str
    data: Raw
    expires: bool = False
    ttl: int = 0
    ping: int = 0
    pong: bool = False


class SubscribeResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """``offset`` is that of the last publication that the client has seen once it has read this reply."""

    recoverable: bool = False
    epoch: str = ""
    publications: Sequence[Publication] = ()
    recovered: bool = False
    offset: int = 0
    positioned: bool = False
    data: Raw | None = None
    was_recovering: bool = False


class HistoryResult(msgspec.Struct, frozen=True):
    """``offset`` and ``epoch`` say where the channel stands, whatever the publications."""

    publications: Sequence[Publication]
    offset: int
    epoch: str


class RefreshResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """``ttl`` is in seconds."""

    client: str
    version: str
    expires: bool = False
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error of the protocol: a number, a name for humans, and whether to try again."""

    code: int
    message: str
    temporary: bool = False


UNAUTHORIZED: Final = ErrorReply(101, "unauthorized")
UNKNOWN_CHANNEL: Final = ErrorReply(102, "unknown channel")
PERMISSION_DENIED: Final = ErrorReply(103, "permission denied")
METHOD_NOT_FOUND: Final = ErrorReply(104, "method not found")
ALREADY_SUBSCRIBED: Final = ErrorReply(105, "already subscribed")
BAD_REQUEST: Final = ErrorReply(107, "bad request")
NOT_AVAILABLE: Final = ErrorReply(108, "not available")
TOKEN_EXPIRED: Final = ErrorReply(109, "token expired")
TOO_MANY: Final = ErrorReply(111, "too many requests", temporary=True)
UNRECOVERABLE: Final = ErrorReply(112, "unrecoverable position")


def limit_exceeded(why: str) -> ErrorReply:
    """The client has as much as it may have of something: says what, and how much that is."""
    return ErrorReply(106, f"limit exceeded: {why}")


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Why the relay closes a connection. Clients reconnect after 3000-3499, and don't after 3500-3999."""

    code: int
    reason: str


SHUTDOWN: Final = Disconnect(3001, "shutdown")
"""The relay stops; another one, or the same after a restart, takes over."""
EXPIRED_CONNECTION: Final = Disconnect(3005, "connection expired")
"""The token's time is over and it was not refreshed."""
NO_PONG: Final = Disconnect(3012, "no pong")
"""The client did not answer a ping."""
INVALID_TOKEN: Final = Disconnect(3500, "invalid token")
BAD_PROTOCOL: Final = Disconnect(3501, "bad request")
"""Not the protocol: malformed JSON, a command before ``connect``, a second ``connect``."""
STALE: Final = Disconnect(3502, "stale")
"""No ``connect`` came in time."""
JSON_ONLY: Final = Disconnect(3501, "binary frame: only the JSON protocol is served, in text frames")
"""A binary frame: protobuf, or a mistake."""
UNAVAILABLE: Final = Disconnect(3508, "send is not available: call submit, revoke, registry or get by rpc")
"""A message to the server, which has no use for it; it has no reply that could say so."""

#: A subscription ended by the relay; the client makes it again.
UNSUBSCRIBE_INSUFFICIENT: Final = (SUBSCRIBE_AGAIN, "insufficient state")
UNSUBSCRIBE_EXPIRED: Final = (SUBSCRIBE_AGAIN + 1, "expired")

_command_decoder = msgspec.json.Decoder(Command)
_encoder = msgspec.json.Encoder()


def channel_error(channel: str) -> ErrorReply | None:
    """What is wrong with a channel's name, or None."""
    if not channel or len(channel) > CHANNEL_LIMIT:
        return BAD_REQUEST
    if channel not in _ALONE and not channel.startswith(_NAMESPACES):
        return UNKNOWN_CHANNEL
    return BAD_REQUEST if channel.endswith(":") else None


def unserved(request: SubscribeRequest) -> ErrorReply | None:
    """What the subscription asks for that isn't served, or None; with the codes that Centrifugo has for it.

    To pass over it would give the client something else than what it asked for, and not say so.
    """
    if 1 <= request.type <= 3:
        return ErrorReply(NOT_AVAILABLE.code, f"type {request.type}: map subscriptions are not available")
    if request.type == 4:
        return ErrorReply(NOT_AVAILABLE.code, "type 4: shared poll subscriptions are not available")
    if request.type:
        return ErrorReply(BAD_REQUEST.code, f"type {request.type}: there is no such type of subscription")
    if bytes(request.tf) not in (b"", b"null"):
        return ErrorReply(BAD_REQUEST.code, "tf: filters are not served; subscribe to tag:TAG or name:NAME instead")
    if request.phase or request.cursor or request.limit or request.asc:
        return ErrorReply(BAD_REQUEST.code, "phase, cursor, limit, asc: are of map subscriptions, which there are not")
    return None


def commands(lines: Sequence[bytes]) -> Iterator[tuple[int, Command]]:
    """The commands of one frame, in order, each with the index of its line.

    :raises msgspec.MsgspecError: a line is not a command. UnicodeDecodeError: not UTF-8.
    """
    for index, line in enumerate(lines):
        if line and not line.isspace():
            yield index, _command_decoder.decode(line)


def encode(value: Any) -> bytes:
    """``value`` as JSON."""
    return _encoder.encode(value)


def why_not(command: Command, subscribed: Iterable[str]) -> ErrorReply:
    """What is said to a command that isn't served.

    :param subscribed: channels that the client is subscribed to.
    """
    if command.sub_refresh is not None and command.sub_refresh.get("channel") not in list(subscribed):
        return PERMISSION_DENIED
    # No subscription is said to expire: one whose token has ended is ended, and made again with a new one.
    asked = (command.publish, command.presence, command.presence_stats, command.sub_refresh)
    return METHOD_NOT_FOUND if asked == (None,) * 4 else NOT_AVAILABLE


#: The reply to a command: its number, its name, an object of the protocol. No function of its own: it is called often.
reply: Final = numbered


def error_reply(identity: int, error: ErrorReply, message: str = "") -> bytes:
    """The reply that command ``identity`` failed; ``message`` says more than the error's own."""
    body: dict[str, Any] = {"code": error.code, "message": message or error.message}
    if error.temporary:
        body["temporary"] = True
    return b'{"id":%d,"error":%s}' % (identity, _encoder.encode(body))


def publication(channel: str, offset: int, line: bytes) -> bytes:
    """The push of one event: the line is put in as it is."""
    return b'{"push":{"channel":%s,"pub":{"data":%s,"offset":%d}}}' % (_encoder.encode(channel), line, offset)


def publications(channel: str, events: Sequence[tuple[int, bytes]]) -> list[bytes]:
    """The pushes of a channel's ``(offset, line)`` events: the lines are put in as they are."""
    head = b'{"push":{"channel":%s,"pub":{"data":' % _encoder.encode(channel)
    return [b'%s%s,"offset":%d}}}' % (head, line, offset) for offset, line in events]


def state_push(channel: str, data: Any) -> bytes:
    """The push of what holds now on a channel that has no events, and so no offsets."""
    return _encoder.encode({"push": {"channel": channel, "pub": {"data": data}}})


def message_push(data: Any) -> bytes:
    """The push of a message that belongs to no channel."""
    return _encoder.encode({"push": {"message": {"data": data}}})


def unsubscribe_push(channel: str, why: tuple[int, str] = UNSUBSCRIBE_INSUFFICIENT) -> bytes:
    """The push that ends a subscription, because events may be missing if nothing else; the client subscribes again."""
    code, reason = why
    return _encoder.encode({"push": {"channel": channel, "unsubscribe": {"code": code, "reason": reason}}})
