"""Results that were stored while nobody listened: a look through the keys of the result backend, for the young ones.

What Redis publishes is lost to whoever is away, and of tasks whose workers have no plugin nothing else tells. So the
keys are gone through once whenever a relay begins to listen, a bounded number a second. How old a result is, is told by
what is left of its time to live; so what is old is not read, however much of it there is.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple

import anyio
from redis.asyncio import Redis

from watcher.journal.layout import Journal
from watcher.journal.scripts import YOUNG

__all__ = ["Page", "Scan", "literally"]

#: So many keys are looked at at once, which takes Redis two milliseconds, and then others have their turn, for so long
#: in seconds.
_AT_ONCE: Final = 1000
_PAUSE: Final = 0.02
#: A relay that listens notes down when it did, this often, in seconds …
_EVERY: Final = 2.0
#: … and what had been stored so long before may not have been told yet, in seconds.
_MARGIN: Final = 30.0
#: Where nobody has ever listened, results of this age are looked for, in seconds; and never older ones than that.
_FIRST: Final = 3600.0
_OLDEST: Final = 24 * 3600.0
#: A note of this age says nothing, in seconds.
_FORGOTTEN: Final = 7 * 24 * 3600


class Page(NamedTuple):
    """Some tasks of which something is stored: it is ``young``, or by its key nobody knows (``doubtful``)."""

    young: list[str]
    doubtful: list[str]


class Scan:
    """Goes through the keys of a result backend.

    :param results: its Redis, ``redis`` the journal's; clients that don't decode.
    :param prefix: of the keys that results are stored under.
    :param expires: how long a result is stored, in seconds; None: for ever.
    """

    def __init__(self, *, results: Redis, prefix: str, expires: float | None, redis: Redis, journal: Journal) -> None:
        self._prefix = prefix
        self._pattern = f"{literally(prefix)}*"
        self._lives = round((expires or 0) * 1000)
        self._redis = redis
        self._mark = journal.heard
        self._young = results.register_script(YOUNG)

    async def age(self) -> float:
        """How old a result may be at most that nobody has heard of, in seconds.

        :raises redis.RedisError: Redis is away.
        """
        heard: Any = await self._redis.get(self._mark)
        try:
            last = float(heard or "")
        except ValueError:
            return _FIRST
        return min(max(0.0, await self._now() - last) + _MARGIN, _OLDEST)

    async def pages(self, age: float) -> AsyncGenerator[Page, None]:
        """The tasks of which something is stored that isn't older than ``age``, in seconds; some may come twice.

        :raises redis.RedisError: Redis is away, or doesn't let its keys be looked through.
        """
        cursor: Any = b"0"
        while True:
            arguments = [cursor, self._pattern, _AT_ONCE, self._lives, round(age * 1000)]
            cursor, young, doubtful = await self._young(args=arguments)
            if young or doubtful:
                yield Page(self._tasks(young), self._tasks(doubtful))
            if int(cursor) == 0:
                return
            await anyio.sleep(_PAUSE)

    async def note(self) -> None:
        """Note down, from now on, that somebody listens; returns never.

        :raises redis.RedisError: Redis is away.
        """
        while True:
            await self._redis.set(self._mark, f"{await self._now():.3f}", ex=_FORGOTTEN)
            await anyio.sleep(_EVERY)

    async def _now(self) -> float:
        seconds, microseconds = await self._redis.time()
        return int(seconds) + int(microseconds) / 1_000_000

    def _tasks(self, keys: list[bytes]) -> list[str]:
        return [key.decode(errors="replace").removeprefix(self._prefix) for key in keys]


def literally(text: str) -> str:
    """``text`` as a pattern of Redis that matches nothing else."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)
