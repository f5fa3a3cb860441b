"""Everything that uses non-public names of redis-py, or replaces its classes with our own.

Tried with redis-py 5.2.1, 6.4.0 and 8.1.0. Of hiredis nothing but public names is used. Where a release
lacks what is needed here, each function says what is done then. :data:`MEMBERS` names it; tests/journal/test_redis.py
fails by the name of what is missing.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Final

import anyio
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from watcher.journal.connect import Road

__all__ = ["MEMBERS", "PoolFull", "WaitingPool", "connection_class", "tell", "transport_of"]

#: All that is needed of redis-py's objects, and not documented: their class, and the member.
MEMBERS: Final = (
    ("redis.asyncio:Connection", "_writer"),
    ("redis.asyncio:Connection", "is_connected"),
    ("redis.asyncio:Connection", "send_command"),
    ("redis.asyncio:Connection", "send_packed_command"),
    ("redis.asyncio:SSLConnection", "send_packed_command"),
    ("redis.asyncio:UnixDomainSocketConnection", "send_packed_command"),
    ("redis.asyncio:ConnectionPool", "get_connection"),
    ("redis.asyncio:ConnectionPool", "make_connection"),
    ("redis.asyncio:ConnectionPool", "max_connections"),
    ("redis.asyncio:ConnectionPool", "release"),
    ("redis.asyncio.client:PubSub", "connection"),
)
#: Longest wait for a free connection, in seconds: whoever has one gives it back sooner, for better or worse.
_WAIT: Final = 4.0
_KINDS: Final[dict[Road, type[Any]]] = {"tcp": Connection, "tls": SSLConnection, "unix": UnixDomainSocketConnection}


class PoolFull(RedisError):
    """All connections of a client are in use, and none became free in time: nothing is wrong with Redis."""


class WaitingPool(ConnectionPool):
    """redis-py's; where all connections are in use, it waits for one.

    redis-py's own says ``Too many connections`` as if the server had, or with its pool that waits, that there is none.
    It says so here too where a release takes connections by another method.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._slots = anyio.Semaphore(self.max_connections, fast_acquire=True)
        self._taken: set[Any] = set()

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection; it may be waited for.

        :raises PoolFull: not for ever.
        """
        try:
            self._slots.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(_WAIT) as limit:
                await self._slots.acquire()
            if limit.cancelled_caught:
                raise PoolFull(f"all {self.max_connections} connections are in use") from None
        try:
            connection: Any = await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException:
            self._slots.release()
            raise
        self._taken.add(connection)
        return connection

    async def release(self, connection: Any) -> None:
        """Give a connection back."""
        try:
            await super().release(connection)
        finally:
            if connection in self._taken:
                self._taken.discard(connection)
                self._slots.release()


@functools.cache
def connection_class(road: Road) -> type[Any]:
    """A connection class that reports a break during a write as a ConnectionError.

    redis-py writes a turn of the event loop after it has looked, and uvloop, where a transport was closed meanwhile,
    raises a RuntimeError: whoever waits for a broken connection would not know it as one. So it would be where a
    release writes by another method.
    """
    kind: Any = _KINDS[road]

    class Breaking(kind):  # type: ignore[misc]  # it is known when it runs
        async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
            try:
                await super().send_packed_command(*args, **kwargs)
            except RuntimeError as error:
                raise RedisConnectionError(f"the connection broke: {error}") from None

    return Breaking


def transport_of(connection: Any) -> asyncio.Transport | None:
    """What a connection that is open writes to; None where this redis-py keeps it elsewhere, or to itself.

    Then it is listened to in redis-py's own way (:func:`watcher.journal.pubsub.listen`), which is slower.
    """
    transport: asyncio.Transport | None = getattr(getattr(connection, "_writer", None), "transport", None)
    return transport


async def tell(pubsub: PubSub, *command: str | bytes) -> None:
    """Send a command on the connection that somebody else reads from; its answer is for who does.

    Not by the methods of ``pubsub``: where the connection breaks they make another one, while ``listen()`` makes one
    too, and two that read from one connection are an error that nobody expects.

    :raises ConnectionError: the connection broke. redis.RedisError: it did just now.
    """
    connection = pubsub.connection
    if connection is None or not connection.is_connected:
        raise ConnectionError("the connection broke")
    try:
        await connection.send_command(*command, check_health=False)
    except AttributeError:
        # redis-py writes a turn of the event loop after it has looked: who listens may have let go of the socket.
        if connection.is_connected:
            raise
        raise ConnectionError("the connection broke") from None
