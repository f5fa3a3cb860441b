"""The relay's own events into the journal: what it announces before it sends, and takes back where that failed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import anyio
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from watcher.core.event import Event, encode
from watcher.core.order import standing
from watcher.journal.layout import Appended, Journal, Record, batches
from watcher.journal.scripts import APPEND

__all__ = ["Announcer"]

#: A batch is sent again once where the answer was lost; the journal knows it by its number.
_ATTEMPTS: Final = 2


class Announcer:
    """Appends events under a writer id of its own, one batch at a time, because their numbers must arrive in order."""

    def __init__(self, redis: Redis, journal: Journal) -> None:
        self._journal = journal
        self._script = redis.register_script(APPEND)
        self._writer = uuid.uuid4().hex
        self._number = 0
        self._lock = anyio.Lock()

    async def append(self, events: Sequence[Event]) -> list[Appended]:
        """Append ``events``; returns where each of them stands.

        Cancelled, nobody knows whether they were appended, and nothing else is harmed.

        :raises redis.RedisError: Redis is away or refuses; nobody knows either.
        """
        records = [Record(event.id, standing(event), encode(event)) for event in events]
        appended: list[Appended] = []
        async with self._lock:
            for batch in batches(records):
                self._number += 1  # also where it fails: what was lost must not make the next batch look like a repeat
                last = await self._append(*self._journal.append(self._writer, self._number, batch))
                first = last.offset - len(batch) + 1
                appended += [last._replace(offset=first + index) for index in range(len(batch))]
        return appended

    async def _append(self, keys: list[str], arguments: list[str | int | bytes]) -> Appended:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                reply: list[Any] = await self._script(keys=keys, args=arguments)
                break
            except (RedisConnectionError, RedisTimeoutError):
                if attempt == _ATTEMPTS:
                    raise
        epoch, offset, count = reply
        return Appended(epoch.decode() if isinstance(epoch, bytes) else str(epoch), int(offset), int(count))
