"""What can be asked about many tasks at once: which they are, how many, when they ran, and how each name does."""

from __future__ import annotations

import builtins
import logging
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, overload

import msgspec
from msgspec import Raw

from watcher.client.models import Snapshot
from watcher.core.figures import Count, CountBy, NameStats, Series

__all__ = ["Counts", "Moment", "Pair", "Sort", "TaskQueries"]

logger = logging.getLogger("watcher.client")

K = TypeVar("K")
Sort: TypeAlias = Literal["when", "sent", "runtime", "waited"]
#: A text as in a filter (``2h``, ``03:10``, ``2026-11-30T03:10Z``), a moment, or how long ago it was.
Moment: TypeAlias = str | datetime | timedelta

#: What pairs of values are counted by; a single one stands for itself.
Pair: TypeAlias = tuple[CountBy] | tuple[CountBy, CountBy]

#: Tasks that are asked for at a time.
_PAGE: Final = 100


class _Page(msgspec.Struct, frozen=True):
    tasks: list[Raw]
    next: int | str | None = None
    archive: str | None = None


class _Counted(msgspec.Struct, frozen=True):
    total: int
    counts: list[Count]
    more: bool = False


class _Named(msgspec.Struct, frozen=True):
    names: list[NameStats]


class Counts(dict[K, int], Generic[K]):
    """How many tasks have each value, or pair of values; None is that of tasks that have none.

    ``total``: how many there are in all. ``more``: whether there are further values, with fewer tasks each: the relay
    tells of 1,000.
    """

    def __init__(self, counts: dict[K, int], total: int, *, more: bool) -> None:
        super().__init__(counts)
        self.total = total
        self.more = more


class TaskQueries:
    """Questions about tasks by a filter, see docs/filters.md; an empty filter is every task that may be seen."""

    async def _ask(self, method: str, **parameters: Any) -> bytes:
        """The relay's answer; parameters that are None or empty are left out."""
        raise NotImplementedError

    def list(
        self,
        filter: str = "",  # noqa: A002 - as everywhere
        *,
        sort: Sort = "when",
        limit: int | None = None,
    ) -> AsyncGenerator[Snapshot, None]:
        """The tasks that match a filter, as an async iterator; a page is fetched when it is needed.

        Sorted by ``when``, a task that changes meanwhile may be passed over: it moves to the beginning. None is by
        ``sent``. If the relay's archive is away, there is only what the journal holds, and a warning in the log.

        :param sort: what comes first: the newest event, the last sent, the longest runtime or wait.
        :param limit: how many tasks at most; None: all.
        :raises RelayRefused: the filter is not accepted; says what is wrong with it.
        :raises RelayUnavailable: the relay can't tell now.
        """
        return self._list(filter, sort, limit)

    async def _list(self, filter: str, sort: Sort, limit: int | None) -> AsyncGenerator[Snapshot, None]:  # noqa: A002
        left, before, warned = limit, None, False
        while left is None or left > 0:
            count = _PAGE if left is None else min(left, _PAGE)
            answer = await self._ask("list", filter=filter, sort=sort, limit=count, before=before)
            page = msgspec.json.decode(answer, type=_Page)
            if page.archive is not None and not warned:
                logger.warning("the list has only what the journal holds: %s", page.archive)
                warned = True
            for task in page.tasks:
                yield Snapshot(bytes(task))
            left = None if left is None else left - len(page.tasks)
            before = page.next
            if before is None:
                break

    @overload
    async def count(self, filter: str = "", *, by: tuple[()] = ()) -> int: ...
    @overload
    async def count(self, filter: str = "", *, by: CountBy) -> Counts[str | None]: ...
    @overload
    async def count(self, filter: str = "", *, by: Pair) -> Counts[tuple[str | None, ...]]: ...
    async def count(self, filter: str = "", *, by: CountBy | tuple[()] | Pair = ()) -> Any:  # noqa: A002
        """How many tasks match a filter.

        :param by: ``state``, ``kind``, ``name``, ``queue``, ``worker`` or ``error``, or a tuple of two of them.
        :returns: an int; with ``by`` how many tasks have each value (a text) or each pair of values (a tuple).
        :raises RelayRefused: the filter, or ``by``, is not accepted.
        :raises RelayUnavailable: the relay can't tell now, because its archive is away or behind.
        """
        names = (by,) if isinstance(by, str) else by
        answer = msgspec.json.decode(await self._ask("counts", filter=filter, by=",".join(names)), type=_Counted)
        if not names:
            return answer.total
        if isinstance(by, str):
            rows: dict[Any, int] = {getattr(row, by): row.count for row in answer.counts}
        else:
            rows = {tuple(getattr(row, name) for name in names): row.count for row in answer.counts}
        return Counts(rows, answer.total, more=answer.more)

    async def series(
        self,
        filter: str = "",  # noqa: A002
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        buckets: int = 60,
    ) -> Series:
        """What happened in equal parts of a span of time: how many tasks were sent, how many ended and how.

        :param since: an hour ago where there is none; ``until``: now.
        :param buckets: how many parts, 500 at most.
        :raises RelayRefused: the filter, or another argument, is not accepted.
        :raises RelayUnavailable: as :meth:`count`.
        """
        told = await self._ask("series", filter=filter, since=_text(since), until=_text(until), buckets=buckets)
        return msgspec.json.decode(told, type=Series)

    async def names(
        self,
        filter: str = "",  # noqa: A002
        *,
        since: Moment | None = None,
    ) -> builtins.list[NameStats]:
        """The names of tasks, with how many there are, how many of them failed, and how long they ran and waited.

        :param since: only of tasks that have changed since then.
        :raises RelayRefused: as :meth:`series`. RelayUnavailable: as :meth:`count`.
        """
        told = await self._ask("names", filter=filter, since=_text(since))
        return msgspec.json.decode(told, type=_Named).names


def _text(moment: Moment | None) -> str | None:
    if isinstance(moment, timedelta):
        return f"{moment.total_seconds():.0f}s"
    return moment.astimezone().isoformat() if isinstance(moment, datetime) else moment
