"""The subscriber to Redis pub/sub, for the feed, the safety net and results: it reads the connection's bytes itself.

redis-py makes the connection, with all that belongs to it, and knows a way to listen. On that way a message passes a
stream, a parser, two generators and three turns of the event loop, which takes 0.2 ms where the processor has done
something else meanwhile: as long as all the rest of its way through a relay to one client. It is gone all the same
where redis-py doesn't let go of its connection's transport, which nothing that is public hands out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import anyio
import hiredis
from redis import __version__ as redis_version
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from watcher.journal._redis import transport_of
from watcher.journal.pubsub import SILENCE, confirmed, keep_asking, listen, tell

try:
    import fcntl
    import termios
except ImportError:  # on Windows, where a program may wait for results
    fcntl = termios = None  # type: ignore[assignment]

__all__ = ["Confirm", "Message", "Subscriber", "Subscription", "Take", "TakeSlowly", "subscribed"]

logger = logging.getLogger(__name__)

#: A read that brings so many bytes has brought all that it could, or nearly: there may be more. Then so many are taken
#: together, so that those who watch single tasks get more than one event with a write, too.
_FULL: Final = 200_000
_GATHERED: Final = 1024 * 1024
_PING: Final = hiredis.pack_command((b"PING",))


class Message(NamedTuple):
    """A published message, and its channel."""

    channel: bytes
    data: bytes


#: Takes messages in order, as many as it can take at once; returns how many it took.
Take: TypeAlias = Callable[[Sequence[Message]], int]
#: Takes one that the first didn't.
TakeSlowly: TypeAlias = Callable[[Message], Awaitable[None]]
#: Called with a channel that it is subscribed to from now on.
Confirm: TypeAlias = Callable[[bytes], None]


class Subscription(Protocol):
    """A connection that is subscribed to something."""

    async def listen(self, take: Take, take_slowly: TakeSlowly | None = None, confirm: Confirm | None = None) -> None:
        """See :meth:`Subscriber.listen`."""

    async def tell(self, *command: str | bytes) -> None:
        """See :meth:`Subscriber.tell`."""


@asynccontextmanager
async def subscribed(redis: Redis, channel: str, *, pattern: bool = False) -> AsyncIterator[Subscription]:
    """A connection of its own that is subscribed to ``channel``; closed at the end. It is never renewed.

    What is published from now on is kept until :meth:`Subscription.listen`.

    :param redis: where; a client that neither decodes nor retries.
    :param pattern: whether ``channel`` is a pattern of channels.
    :raises redis.RedisError: it can't be reached, or lets nobody listen. TimeoutError: it doesn't answer.
    """
    connection = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    try:
        await connection.connect()
        transport = transport_of(connection)
        if transport is not None:
            subscriber = Subscriber(transport)
            transport.set_protocol(subscriber)
            with anyio.fail_after(SILENCE):
                await subscriber.subscribe(channel, pattern=pattern)
            yield subscriber
            return
    finally:
        await connection.disconnect(nowait=True)
    _say_slower()
    async with redis.pubsub() as pubsub:
        await (pubsub.psubscribe if pattern else pubsub.subscribe)(channel)
        await confirmed(pubsub)
        yield _Slower(pubsub)


_warned = False


def _say_slower() -> None:
    global _warned  # noqa: PLW0603 - it is told once in a process
    if not _warned:
        _warned = True
        logger.warning(
            "events are read more slowly: redis-py %s does not expose its connections' transport", redis_version
        )


class _Slower:
    """Listens by redis-py's public interface: messages take longer, and nothing else differs."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def listen(self, take: Take, take_slowly: TakeSlowly | None = None, confirm: Confirm | None = None) -> None:
        async def handle(raw: dict[str, Any]) -> None:
            message = Message(raw["channel"], raw["data"])
            if not take([message]) and take_slowly is not None:
                await take_slowly(message)

        await listen(self._pubsub, handle, confirm)

    async def tell(self, *command: str | bytes) -> None:
        await tell(self._pubsub, *command)


class Subscriber(asyncio.Protocol):
    """Receives the bytes of a connection that is used for nothing but listening.

    :param transport: of a connection on which nothing is under way.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        encrypted = transport.get_extra_info("sslcontext") is not None  # then it tells of something else
        self._socket = None if encrypted else transport.get_extra_info("socket")
        self._gathered = 0  # bytes that were read since something was handed on
        self._reader = hiredis.Reader()
        self._answered = time.monotonic()
        self._take: Take | None = None
        self._confirm: Confirm | None = None
        self._waiting: list[Message] = []  # those that were not taken yet
        self._failure: Exception | None = None
        self._stirred = anyio.Event()
        self._confirmed = False
        self._room = anyio.Event()  # set: the transport takes more
        self._room.set()

    async def subscribe(self, channel: str, *, pattern: bool = False) -> None:
        """Subscribe to a channel, or a pattern of some, and wait until Redis has confirmed it."""
        await self.tell("PSUBSCRIBE" if pattern else "SUBSCRIBE", channel)
        while not self._confirmed:
            await self._stir()

    async def tell(self, *command: str | bytes) -> None:
        """Send a command; its answer is for :meth:`listen`.

        :raises redis.RedisError: the connection broke.
        """
        await self._room.wait()
        if self._failure is not None or self._transport.is_closing():
            raise self._failure or RedisConnectionError("the connection broke")
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub means one item

    async def listen(self, take: Take, take_slowly: TakeSlowly | None = None, confirm: Confirm | None = None) -> None:
        """Hand on each message, in order, until something breaks; never returns.

        :param take: called with what one read brought, from within the event loop: it must not wait.
        :param take_slowly: awaited for one that ``take`` didn't take; nothing is read meanwhile. None: it takes all.
        :param confirm: called with each channel whose subscription Redis confirms, after the messages that came before.
            None where nothing more is going to be subscribed to.
        :raises TimeoutError: the server is silent; a frozen one breaks no connection.
        :raises redis.RedisError: the connection broke. Whatever ``take`` and ``take_slowly`` raise.
        """
        self._take, self._confirm = take, confirm
        async with anyio.create_task_group() as group:
            group.start_soon(keep_asking, lambda: self._answered, self._ask)
            self._hand_on()
            while True:
                while self._waiting and take_slowly is not None:
                    await take_slowly(self._waiting.pop(0))
                    self._hand_on()
                self._read(True)
                await self._stir()

    async def _ask(self) -> None:
        if self._waiting:  # what it answered waits to be read
            self._answered = time.monotonic()
        if not self._transport.is_closing():
            self._transport.write(_PING)

    def _read(self, on: bool) -> None:
        """Resume or pause reading."""
        if self._transport.is_closing():
            return  # uvloop's don't bear it, and its end is told of already or soon
        if on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    async def _stir(self) -> None:
        """Wait until something is to be done here."""
        if self._failure is None:
            await self._stirred.wait()
            self._stirred = anyio.Event()
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._stirred.set()
        self._room.set()

    # What asyncio calls.

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._answered = time.monotonic()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._hear(reply)
            self._gathered += len(data)
            if len(data) < _FULL or self._gathered >= _GATHERED or not self._more_has_come():
                self._gathered = 0
                self._hand_on()
        except hiredis.ProtocolError as error:
            self._fail(RedisConnectionError(f"invalid data from Redis: {error}"))
        except Exception as error:  # noqa: BLE001 - it is raised where somebody listens
            self._fail(error)

    def _more_has_come(self) -> bool:
        """Whether the kernel has bytes for the next read, which the event loop does next."""
        if self._socket is None or fcntl is None:
            return False
        pending = fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, b"\0\0\0\0")
        return pending != b"\0\0\0\0"

    def pause_writing(self) -> None:
        """The server takes no more for now."""
        if self._failure is None:
            self._room = anyio.Event()

    def resume_writing(self) -> None:
        """It does again."""
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection broke."""
        self._fail(RedisConnectionError(f"the connection broke{f': {exc}' if exc else ''}"))

    def _hear(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            # A replica that gets its data anew keeps its connections, and says so: it is not to be asked for now.
            raise BusyLoadingError(str(reply)) if str(reply).startswith("LOADING") else ResponseError(str(reply))
        kind = reply[0] if isinstance(reply, list) and reply else None
        if kind in (b"message", b"pmessage"):
            self._waiting.append(Message(reply[-2], reply[-1]))
        elif kind in (b"subscribe", b"psubscribe"):
            if self._take is None:
                self._confirmed = True
                self._stirred.set()
                self._read(False)
            elif self._confirm is not None:
                self._hand_on()
                self._confirm(reply[1])

    def _hand_on(self) -> None:
        """Have all that waits be taken; what isn't taken at once is for :meth:`listen`."""
        if self._take is not None and self._waiting and self._failure is None:
            del self._waiting[: self._take(self._waiting)]
            if self._waiting:
                self._read(False)
                self._stirred.set()
