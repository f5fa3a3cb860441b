"""What an app's result backend has stored of tasks, for many who ask at a time.

A Redis is asked by the relay's own client. Other backends block, so they are read in threads.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import anyio
import anyio.to_thread
from celery import Celery
from redis.asyncio import Redis
from redis.exceptions import RedisError

from watcher.core.errors import Unavailable
from watcher.relay.common.coalescing import Coalescer, QueryTimeout
from watcher.relay.common.outage import unavailable
from watcher.relay.limits.bounded_threads import BoundedThreads, ThreadsBusy
from watcher.relay.limits.metering import bill
from watcher.rendering.result_backend import READERS, Stored

__all__ = ["ResultLocation", "StoredResults"]

#: A read takes at most this long, waiting for its turn included, in seconds.
_CALL: Final = 2.5
#: Where it is asked without threads: so many reads at a time, each of so many results, which may be large.
_LANES: Final = 4
_AT_ONCE: Final = 32
#: … and of a batch of an address that has done much, while others are there: all of it is answered in one go.
_AMONG_OTHERS: Final = 8

_OVERLOADED: Final = "the result backend is overloaded"


class ResultLocation(NamedTuple):
    """Where Celery's result backend keeps results: a client of its Redis, the prefix of its keys, and how long.

    :param expires: in seconds; None: for ever.
    """

    redis: Redis
    prefix: str
    expires: float | None = None


class StoredResults:
    """The result backend, for any number of readers; a bounded number of reads is under way at a time.

    :param results: where it is a Redis that is asked without threads; else None.
    """

    def __init__(self, app: Celery, results: ResultLocation | None = None) -> None:
        self._stored = Stored(app)
        self._threads = BoundedThreads(READERS)
        self._batched: Coalescer[str, bytes | None]
        if results is None:
            self._batched = Coalescer(self._ask, lanes=READERS, most=lambda: self._stored.at_once)
        else:
            self._batched = Coalescer(functools.partial(_ask, results), lanes=_LANES, most=_at_once)

    async def read(self, identity: str) -> bytes | None:
        """What is stored of a task, as it is stored; None where nothing is, or where it isn't JSON. Safe to cancel.

        :raises Unavailable: the backend doesn't answer, or not in time for so many. TooMany: too many wait already.
        """
        try:
            return await self._batched.get(identity, _CALL)
        except QueryTimeout:
            raise Unavailable(_OVERLOADED) from None
        except TimeoutError:
            raise Unavailable("the result backend doesn't answer") from None

    async def _ask(self, identities: list[str]) -> Sequence[bytes | None]:
        try:
            return await self._threads.run(functools.partial(self._stored.read, identities), _CALL)
        except ThreadsBusy:
            raise Unavailable(_OVERLOADED) from None
        except Exception as error:  # each kind of backend has a driver with errors of its own
            raise _away(error) from error

    async def aclose(self) -> None:
        """Close the connections to the backend."""
        await anyio.to_thread.run_sync(self._stored.close, abandon_on_cancel=True)


def _at_once() -> int:
    payer = bill().heavy
    return _AT_ONCE if payer is None or payer.alone else _AMONG_OTHERS


async def _ask(results: ResultLocation, identities: list[str]) -> Sequence[bytes | None]:
    # What no key can be is no reason to answer nobody.
    keys = [f"{results.prefix}{identity}".encode(errors="replace") for identity in identities]
    try:
        payloads: Any = await results.redis.mget(keys)
    except (RedisError, OSError) as error:
        raise _away(error) from error
    return [payload or None for payload in payloads]


def _away(error: Exception) -> Unavailable:
    return unavailable("the result backend", error)
