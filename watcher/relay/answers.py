"""Answers about many tasks, the same over HTTP and WebSocket: from the archive, or, a list, from the history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol, cast

from msgspec import Raw

from watcher.catalogue.catalogue import Counts, Listed, Page, Reach, Sort
from watcher.core.errors import Unavailable
from watcher.core.event import Task
from watcher.core.figures import CountBy, NameStats, Series
from watcher.core.filters import Filter
from watcher.core.permissions import Grant
from watcher.relay.api.queries import CountsQuery, ListQuery, NamesQuery, SeriesQuery
from watcher.relay.api.schemas import Names, TaskCounts, TaskList
from watcher.relay.http.query import page
from watcher.relay.limits.metering import turn
from watcher.relay.stream.hub import Hub

__all__ = ["Answers", "TaskArchive"]


class TaskArchive(Protocol):
    """What answers need of the archive. Each question may raise :exc:`Unavailable` or :exc:`TooMany`."""

    async def reached(self, epoch: str, offset: int) -> str | None:
        """Wait, briefly, until it has taken an event; why it hasn't, or None."""

    async def list(self, wanted: Listed, grant: Grant) -> Page:
        """A page of tasks."""

    async def counts(self, chosen: Filter, grant: Grant, by: Sequence[CountBy]) -> Counts:
        """How many tasks there are."""

    async def series(self, chosen: Filter, grant: Grant, since: float, until: float, buckets: int) -> Series:
        """What happened when."""

    async def names(self, chosen: Filter, grant: Grant, since: float | None) -> Sequence[NameStats]:
        """The tasks by name."""

    async def reach(self) -> Reach:
        """How far back it is whole."""


class Answers:
    """What may be asked, for the holder of a grant: what that doesn't let see is in no list, and in no number.

    An answer waits until the archive has reached what the history has: whoever was told of an event finds it.
    All are safe to cancel.
    """

    def __init__(self, hub: Hub[Any], archive: TaskArchive) -> None:
        self._hub = hub
        self._archive = archive

    async def list(self, asked: ListQuery, grant: Grant) -> TaskList:
        """A page of tasks; of those that the journal holds, where the archive is away or behind.

        :raises Unavailable: it is, and only it can sort them so.
        """
        why = await self._behind()
        if why is None:
            try:
                return await self._listed(asked, grant)
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

    async def _listed(self, asked: ListQuery, grant: Grant) -> TaskList:
        tasks, following, position = await self._page(asked, grant)
        reach = await self._archive.reach()
        # They are JSON already, as the API shows a task.
        return TaskList(cast("list[Task]", tasks), *position, following, since=reach.since, gaps=reach.gaps)

    async def _page(self, asked: ListQuery, grant: Grant) -> Page:
        wanted = Listed(asked.filter, cast("Sort", asked.sort), asked.limit, asked.before)
        return await self._archive.list(wanted, grant)

    async def page(self, asked: ListQuery, grant: Grant) -> tuple[Sequence[Raw], int | str | None]:
        """A page of tasks as JSON, and where the next one begins; None where there is none.

        :raises Unavailable: the archive is away.
        """
        await self._require()
        found = await self._page(asked, grant)
        return found.tasks, found.next

    async def counts(self, asked: CountsQuery, grant: Grant) -> TaskCounts:
        """How many tasks there are.

        :raises Unavailable: the archive is away or behind.
        """
        await self._require()
        found = await self._archive.counts(asked.filter, grant, asked.by)
        return TaskCounts(found.total, found.counts, found.more, *found.position)

    async def series(self, asked: SeriesQuery, grant: Grant) -> Series:
        """What happened when; raises as :meth:`counts`."""
        await self._require()
        return await self._archive.series(asked.filter, grant, asked.since, asked.until, asked.buckets)

    async def names(self, asked: NamesQuery, grant: Grant) -> Names:
        """The tasks by name; raises as :meth:`counts`."""
        await self._require()
        return Names(list(await self._archive.names(asked.filter, grant, asked.since)))

    async def _behind(self) -> str | None:
        history = self._hub.history
        return await self._archive.reached(history.epoch, history.last)

    async def _require(self) -> None:
        if (why := await self._behind()) is not None:
            raise Unavailable(why)
