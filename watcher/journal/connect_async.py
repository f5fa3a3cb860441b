"""Clients of Redis for an event loop: the one place where a relay, or a program that waits for results, connects."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, RedisError, ResponseError

from watcher.core.errors import RedisUnreachable, SettingError
from watcher.journal._redis import WaitingPool, connection_class
from watcher.journal.connect import ASK, Purpose, Target, target_of

__all__ = ["async_client", "reach"]

logger = logging.getLogger(__name__)

#: Most connections of a client; a further user waits for one.
_CONNECTIONS: Final = 16


def async_client(
    redis: Target | str, purpose: Purpose = ASK, *, connections: int = _CONNECTIONS, **options: Any
) -> Redis:
    """A client that fails soon and never retries. It doesn't connect yet.

    :param redis: the Redis, or its URL.
    :param connections: most connections that it has; a further user waits for one.
    :param options: further ones of redis-py's; what the URL's query says goes before them.
    :raises SettingError: it is a URL that can't be understood, or redis-py's asyncio can't do what it says.
    """
    target = target_of(redis)
    kind = connection_class(target.road)
    wanted = {**purpose.options(), "retry": Retry(NoBackoff(), 0), **options, **target.options}
    try:
        kind(**wanted)  # connects to nothing
    except (TypeError, ValueError, RedisError) as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        why = f"redis-py has no {unknown[1]} for asyncio; only workers can do without" if unknown else str(error)
        raise SettingError("Redis", str(target), why) from None
    return Redis.from_pool(WaitingPool(connection_class=kind, max_connections=connections, **wanted))


async def reach(redis: Redis, target: Target, key: str) -> None:
    """Check that Redis answers, and has the journal.

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
        reason = f"it is a cluster node without the journal's keys ({where}): name the node that has them"
        raise RedisUnreachable(f"Redis at {target} can't be used: {reason}") from None
    except (RedisError, OSError) as error:
        raise RedisUnreachable(f"Redis at {target} can't be reached: {error}") from None
