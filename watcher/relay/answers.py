"""Answers about many tasks, the same over HTTP and WebSocket: from the archive, or, a list, from the history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, cast

from msgspec import Raw
from msgspec.structs import replace

from watcher.catalogue.catalogue import Listed, Page, Sort
from watcher.core.errors import BadRequest, TooMany, Unavailable
from watcher.core.event import Task
from watcher.core.figures import Series
from watcher.core.permissions import Grant
from watcher.relay.api.queries import CountsQuery, ListQuery, NamesQuery, SeriesQuery
from watcher.relay.api.schemas import Names, Overview, Rates, TaskCounts, TaskList
from watcher.relay.archive.archive import Archive
from watcher.relay.http.query import page
from watcher.relay.limits.metering import turn
from watcher.relay.stream.hub import Hub

__all__ = ["Answers"]

#: Bytes of tasks on a page, about: a task has up to 60 KiB.
_SIZE: Final = 2 * 1024 * 1024


class Answers:
    """What may be asked, for the holder of a grant: what that doesn't let see is in no list, and in no number.

    The archive waits, briefly, until it is as far as the history: whoever was told of an event finds it. All are safe
    to cancel. Where it is away, or stays behind, :exc:`Unavailable` says why; where it is asked too much,
    :exc:`TooMany` does.
    """

    def __init__(self, hub: Hub[Any], archive: Archive) -> None:
        self._hub = hub
        self._archive = archive
        self._numbers = Overview(states={}, kinds={}, total=0, rates=Rates(0, 0, 0, 0), since=None, archive=None)

    async def list(self, asked: ListQuery, grant: Grant, size: int = _SIZE) -> TaskList:
        """A page of tasks; of those that the journal holds, where the archive is away or behind.

        :param size: bytes of tasks that it may have; there is one task in any case.
        :raises Unavailable: it is, and only it can sort them so.
        """
        try:
            return await self._listed(asked, grant, size)
        except Unavailable as error:
            why = str(error)
        if asked.sort != "when":
            raise Unavailable(f"tasks can't be sorted by {asked.sort} now: {why}")
        steps = page(asked, self._hub.history, grant, time.time(), why)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                found: TaskList = done.value
                return found
            await turn()  # others, and events, have theirs

    async def _listed(self, asked: ListQuery, grant: Grant, size: int) -> TaskList:
        tasks, following, position = await self._page(asked, grant, size)
        reach = self._archive.reach
        # They are JSON already, as the API shows a task.
        return TaskList(cast("list[Task]", tasks), *position, following, since=reach.since, gaps=reach.gaps)

    async def _page(self, asked: ListQuery, grant: Grant, size: int) -> Page:
        wanted = Listed(asked.filter, cast("Sort", asked.sort), asked.limit, asked.before, size)
        try:
            return await self._archive.list(wanted, grant)
        except ValueError as error:
            raise BadRequest(f"parameter {error}") from None

    async def page(self, asked: ListQuery, grant: Grant) -> tuple[Sequence[Raw], int | str | None]:
        """A page of tasks as JSON, and where the next one begins; None where there is none."""
        found = await self._page(asked, grant, _SIZE)
        return found.tasks, found.next

    async def counts(self, asked: CountsQuery, grant: Grant) -> TaskCounts:
        """How many tasks there are."""
        found = await self._archive.counts(asked.filter, grant, asked.by)
        return TaskCounts(found.total, found.counts, found.more, *found.position)

    async def series(self, asked: SeriesQuery, grant: Grant) -> Series:
        """What happened when."""
        return await self._archive.series(asked.filter, grant, (asked.since, asked.until), asked.buckets)

    async def names(self, asked: NamesQuery, grant: Grant) -> Names:
        """The tasks by name."""
        return Names(list(await self._archive.names(asked.filter, grant, asked.since)))

    async def overview(self) -> Overview:
        """Numbers of all tasks; those of before, and why, where the archive can't tell."""
        try:
            self._numbers = await self._archive.overview()
        except (Unavailable, TooMany) as error:
            return replace(self._numbers, archive=str(error))
        return self._numbers
