"""How far the journal in Redis is, and how large: asked once for all who want to know at a time."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from watcher.core.errors import Unavailable
from watcher.journal.layout import SECRET_LENGTH, Journal
from watcher.journal.scripts import BEGIN
from watcher.relay.common.coalescing import Coalescer
from watcher.relay.common.outage import unavailable

__all__ = ["Positions", "Size"]

_T = TypeVar("_T")

#: Longest wait for an answer, in seconds; a silent Redis is noticed sooner.
_PATIENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large the journal is.

    :param last: offset of the newest event.
    :param unfinished: tasks that have not ended.
    :param bytes: of Redis's memory; None where it doesn't tell.
    """

    last: int
    events: int
    unfinished: int
    bytes: int | None


class Positions:
    """The journal's newest offset and its size, for any number of those who ask.

    :param redis: a client that neither decodes nor retries, with short socket time-outs.
    """

    def __init__(self, redis: Redis, journal: Journal) -> None:
        self._redis = redis
        self._journal = journal
        self._begin = redis.register_script(BEGIN)
        self._fresh = secrets.token_hex(SECRET_LENGTH // 2)  # what the secret becomes where the journal has none
        self._newest: Coalescer[None, tuple[str, int]] = Coalescer(self._ask_newest)
        self._sizes: Coalescer[None, Size] = Coalescer(self._ask_size)

    async def newest(self) -> tuple[str, int]:
        """Epoch and offset of the newest event in the journal, at some moment after this was called. Safe to cancel.

        :raises Unavailable: Redis doesn't answer.
        """
        return await _asked(self._newest)

    async def size(self) -> Size:
        """The size of the journal, asked in the same way. Safe to cancel.

        :raises Unavailable: Redis doesn't answer.
        """
        return await _asked(self._sizes)

    async def position(self, rewound: str = "") -> tuple[str, int, int, bytes]:
        """Epoch, offsets of the first and the newest event, and the live channel's secret, asked for now.

        :param rewound: see :meth:`watcher.journal.layout.Journal.begin`.

        :raises redis.RedisError: Redis doesn't answer, or refuses.
        """
        keys, arguments = self._journal.begin(self._fresh, rewound)
        epoch, first, last, secret = await self._begin(keys=keys, args=arguments)
        return epoch.decode("ascii"), first, last, secret

    async def _ask_newest(self, asked: list[None]) -> Sequence[tuple[str, int]]:
        try:
            epoch, _, last, _ = await self.position()
        except (RedisError, OSError) as error:
            raise _away(error) from None
        return [(epoch, last)] * len(asked)

    async def _ask_size(self, asked: list[None]) -> Sequence[Size]:
        unfinished: Any
        size: Any
        try:
            _, first, last, _ = await self.position()
            async with self._redis.pipeline(transaction=False) as pipe:
                _ = pipe.hlen(self._journal.open)  # only queued: there is nothing to wait for
                _ = pipe.memory_usage(self._journal.stream)
                unfinished, size = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise _away(error) from None
        if isinstance(unfinished, Exception):
            raise _away(unfinished)
        memory = None if isinstance(size, Exception) else size
        return [Size(last, last - first + 1, unfinished, memory)] * len(asked)


def _away(error: Exception) -> Unavailable:
    return unavailable("Redis", error, refuses=isinstance(error, ResponseError))


async def _asked(batched: Coalescer[None, _T]) -> _T:
    try:
        return await batched.get(None, _PATIENCE)
    except TimeoutError:
        raise Unavailable("the relay is overloaded") from None
