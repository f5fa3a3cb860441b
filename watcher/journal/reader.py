"""The entries of the journal's stream, one after the other, from either end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

from redis.asyncio import Redis

from watcher.journal.layout import Batch, entry

__all__ = ["entries"]

#: Entries in the first request: each holds one event or some dozens, which isn't known yet …
_FIRST: Final = 100
#: … and events that each further request aims at: one reply stays within a few MiB.
_EVENTS: Final = 1000


async def entries(redis: Redis, stream: str, start: str, *, backwards: bool = False) -> AsyncGenerator[Batch, None]:
    """The entries of ``stream`` beyond ``start``, an id or the end to start from, each of them once.

    What is appended meanwhile is among them where it goes forwards.

    :param redis: a client that doesn't decode.
    :raises redis.RedisError: Redis is away or refuses.
    """
    count = _FIRST
    while True:
        if backwards:
            page: Any = await redis.xrevrange(stream, start, "-", count=count)
        else:
            page = await redis.xrange(stream, start, "+", count=count)
        events = 0
        for batch in map(entry, page):
            events += len(batch.lines)
            yield batch
        if len(page) < count:
            return
        start = f"({page[-1][0].decode('ascii')}"
        count = max(1, min(_EVENTS, count * _EVENTS // events))
