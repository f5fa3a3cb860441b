"""Listening on Redis pub/sub, and noticing when there is nobody at the other end any more."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from watcher.core.errors import RedisUnreachable, SettingError
from watcher.journal.connect import Road, Target, target_of

__all__ = ["SILENCE", "PoolFull", "confirmed", "keep_asking", "listen", "reach", "soon_failing", "tell"]

logger = logging.getLogger(__name__)

#: A server that doesn't answer for this long is taken for frozen, in seconds …
SILENCE: Final = 4.0
#: … and is asked this often.
_ASK: Final = 1.0
#: A client has so many connections at most, and one that is needed is waited for so long, in seconds: whoever has one
#: gives it back sooner, for better or worse.
_CONNECTIONS: Final = 16
_WAIT: Final = 4.0
_SILENT: Final = "doesn't answer"
#: anyio's clock looks for the running event loop first, which up to Python 3.11 asks the kernel for the process's id.
_now: Final = time.monotonic
_KINDS: Final[dict[Road, type[Any]]] = {"tcp": Connection, "tls": SSLConnection, "unix": UnixDomainSocketConnection}


class PoolFull(RedisError):
    """All connections of a client are in use, and none became free in time: nothing is wrong with Redis."""


class _Pool(ConnectionPool):
    """redis-py's; where all connections are in use, it waits for one.

    redis-py's own says ``Too many connections`` as if the server had, or with its pool that waits, that there is none.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._places = anyio.Semaphore(self.max_connections, fast_acquire=True)
        self._taken: set[Any] = set()

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection; it may be waited for.

        :raises PoolFull: not for ever.
        """
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(_WAIT) as limit:
                await self._places.acquire()
            if limit.cancelled_caught:
                raise PoolFull(f"all {self.max_connections} connections are in use") from None
        try:
            connection: Any = await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException:
            self._places.release()
            raise
        self._taken.add(connection)
        return connection

    async def release(self, connection: Any) -> None:
        """Take it back."""
        try:
            await super().release(connection)
        finally:
            if connection in self._taken:
                self._taken.discard(connection)
                self._places.release()


def soon_failing(given: Target | str, *, connections: int = _CONNECTIONS, **options: Any) -> Redis:
    """A client that fails soon, and leaves it to its user to try again.

    :param given: the Redis, or its URL.
    :param connections: so many it has at most; who needs one more waits for it.
    :param options: further ones of redis-py's; what the URL's query says goes before them.
    :raises SettingError: it is a URL that can't be understood, or redis-py's asyncio can't do what it says.
    """
    target = target_of(given)
    kind = _breaking(target.road)
    common: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": Retry(NoBackoff(), 0)}
    wanted = {**common, **options, **target.options, "protocol": 2}
    try:
        kind(**wanted)  # connects to nothing
    except (TypeError, ValueError, RedisError) as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        why = f"redis-py has no {unknown[1]} for asyncio; only workers can do without" if unknown else str(error)
        raise SettingError("Redis", str(target), why) from None
    return Redis.from_pool(_Pool(connection_class=kind, max_connections=connections, **wanted))


@functools.cache
def _breaking(road: Road) -> type[Any]:
    """A kind of connection; one that breaks while it is written to says so.

    redis-py writes a turn of the event loop after it has looked, and uvloop, where a transport was closed meanwhile,
    raises a RuntimeError: whoever waits for a broken connection would not know it as one.
    """
    kind: Any = _KINDS[road]

    class Breaking(kind):  # type: ignore[misc]  # it is known when it runs
        async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
            try:
                await super().send_packed_command(*args, **kwargs)
            except RuntimeError as error:
                raise RedisConnectionError(f"the connection broke: {error}") from None

    return Breaking


async def reach(redis: Redis, target: Target, key: str) -> None:
    """See whether Redis answers, and has the journal.

    :param key: one of the journal's.
    :raises RedisUnreachable: it doesn't, lets nobody in, or is a node of a cluster that has other keys.
    """
    try:
        await redis.ping()
        try:
            _ = await redis.hlen(key)
        except (AskError, ClusterDownError):
            raise
        except ResponseError as error:  # it turns out where the key is needed
            logger.debug("%s: %s", key, error)
    except AskError as error:  # and MovedError
        where = f"slot {error.slot_id} is at {error.host}:{error.port}"
        told = f"it is a cluster node without the journal's keys ({where}): name the node that has them"
        raise RedisUnreachable(f"Redis at {target} can't be used: {told}") from None
    except (RedisError, OSError) as error:
        raise RedisUnreachable(f"Redis at {target} can't be reached: {error}") from None


async def confirmed(pubsub: PubSub) -> None:
    """Wait until Redis has confirmed a subscription that was asked for.

    :raises TimeoutError: it doesn't answer.
    """
    while (message := await pubsub.get_message(timeout=SILENCE)) is None or not message["type"].endswith("subscribe"):
        if message is None:
            raise TimeoutError(f"no answer for {SILENCE:g} s")


async def tell(pubsub: PubSub, *command: str | bytes) -> None:
    """Send a command on the connection that :func:`listen` reads from; its answer is for who listens.

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


async def keep_asking(answered: Callable[[], float], ping: Callable[[], Awaitable[None]]) -> None:
    """See now and then whether the server is there; returns never.

    :param answered: tells when it was last heard of, in seconds of :func:`time.monotonic`.
    :param ping: asks it to answer.
    :raises TimeoutError: it is silent.
    """
    while True:
        before = _now()
        await anyio.sleep(_ASK)
        now = _now()
        # An event loop that was held up has not read yet what the server said meanwhile.
        if now - answered() > SILENCE and now - before < SILENCE / 2:
            raise TimeoutError(f"no answer for {SILENCE:g} s")
        with anyio.fail_after(SILENCE):
            await ping()


async def listen(
    pubsub: PubSub,
    handle: Callable[[dict[str, Any]], Awaitable[None]],
    confirm: Callable[[bytes], None] | None = None,
) -> None:
    """Hand each message to ``handle`` until something breaks; never returns.

    :param handle: awaited before the next message is read.
    :param confirm: given each channel whose subscription Redis confirms; it raises ConnectionError where nobody asked.
        None where nothing more is going to be subscribed to.
    :raises TimeoutError: the server is silent; a frozen one breaks no connection.
    :raises redis.RedisError: the connection broke.
    :raises ConnectionError: it was renewed unasked, so that messages may have been missed.
    """
    answered = _now()

    async with anyio.create_task_group() as group:
        group.start_soon(keep_asking, lambda: answered, lambda: tell(pubsub, "PING"))
        async for message in pubsub.listen():
            answered = _now()
            kind = message["type"]
            if kind.endswith("subscribe"):
                if confirm is None:
                    raise ConnectionError("the connection was replaced")
                if kind == "subscribe":
                    confirm(message["channel"])
            elif kind.endswith("message"):
                await handle(message)
