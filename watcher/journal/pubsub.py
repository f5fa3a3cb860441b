"""Listening on Redis pub/sub, and noticing when there is nobody at the other end any more."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, RedisError, ResponseError

from watcher.core.errors import RedisUnreachable, SettingError
from watcher.journal._redis import PoolFull, WaitingPool, connection_class, tell
from watcher.journal.connect import Target, target_of

__all__ = ["SILENCE", "PoolFull", "confirmed", "keep_asking", "listen", "reach", "soon_failing", "tell"]

logger = logging.getLogger(__name__)

#: A server that doesn't answer for this long is taken for frozen, in seconds …
SILENCE: Final = 4.0
#: … and is asked this often.
_ASK: Final = 1.0
#: A client has so many connections at most; one that is needed is waited for.
_CONNECTIONS: Final = 16
_SILENT: Final = "doesn't answer"
#: anyio's clock looks for the running event loop first, which up to Python 3.11 asks the kernel for the process's id.
_now: Final = time.monotonic


def soon_failing(given: Target | str, *, connections: int = _CONNECTIONS, **options: Any) -> Redis:
    """A client that fails soon, and leaves it to its user to try again.

    :param given: the Redis, or its URL.
    :param connections: so many it has at most; who needs one more waits for it.
    :param options: further ones of redis-py's; what the URL's query says goes before them.
    :raises SettingError: it is a URL that can't be understood, or redis-py's asyncio can't do what it says.
    """
    target = target_of(given)
    kind = connection_class(target.road)
    common: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": Retry(NoBackoff(), 0)}
    wanted = {**common, **options, **target.options, "protocol": 2}
    try:
        kind(**wanted)  # connects to nothing
    except (TypeError, ValueError, RedisError) as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        why = f"redis-py has no {unknown[1]} for asyncio, which only workers can do without" if unknown else str(error)
        raise SettingError("Redis", str(target), why) from None
    return Redis.from_pool(WaitingPool(connection_class=kind, max_connections=connections, **wanted))


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
        told = f"it is a node of a cluster, and not the one that has the journal's keys ({where}): name that one"
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
                    raise ConnectionError("the subscription was renewed unasked")
                if kind == "subscribe":
                    confirm(message["channel"])
            elif kind.endswith("message"):
                await handle(message)
