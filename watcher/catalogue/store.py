"""The catalogue in a database: writer and reader under one roof."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Raw
from sqlalchemy import URL

from watcher.catalogue import listing, retention, statistics, timeline
from watcher.catalogue.catalogue import Counts, Listed, Numbers, Page, Position, Reach
from watcher.catalogue.database import Database
from watcher.catalogue.filtering import conditions_of
from watcher.catalogue.selecting import Question
from watcher.catalogue.writer import Writer
from watcher.core.event import Event
from watcher.core.figures import CountBy, NameStats, Series
from watcher.core.filters import Filter
from watcher.core.permissions import Grant

__all__ = ["SqlCatalogue"]


class SqlCatalogue:
    """A :class:`watcher.catalogue.catalogue.Catalogue` in SQLite or PostgreSQL.

    :param url: as :func:`watcher.catalogue.database.url_of` gives it. ``lasting``: see :class:`Database`.
    :raises Unusable: what is in the database can't be used. Away: it doesn't answer.
    """

    def __init__(self, url: URL, namespace: str = "watcher", *, lasting: bool = True) -> None:
        self._database = Database(url, lasting=lasting)
        try:
            self._database.prepare(namespace)
        except BaseException:
            self._database.close()
            raise
        self._writer = Writer(self._database)
        self._writing = threading.Lock()

    def position(self) -> Position:
        """Up to where the catalogue is whole."""
        with self._database.reading() as connection:
            return listing.position(connection)

    @property
    def skipped(self) -> int:
        """How often what came of a task was left out."""
        return self._writer.skipped

    def begin(
        self,
        epoch: str,
        first: int,
        kept: Sequence[tuple[int, bytes]],
        *,
        since: float | None,
        now: float,
        lost: int | None = None,
    ) -> None:
        """Begin with a journal, go on with another one, or after a gap."""
        with self._writing:
            self._writer.begin(epoch, first, kept, since=since, now=now, lost=lost)

    def apply(self, epoch: str, events: Sequence[tuple[int, bytes]], upto: int | None = None) -> None:
        """Take the next events."""
        with self._writing:
            self._writer.apply(epoch, events, upto)

    def complete(self, told: Sequence[Event]) -> None:
        """Take the ends of unfinished tasks from somewhere else."""
        with self._writing:
            self._writer.complete(told)

    def list(self, wanted: Listed, grant: Grant, now: float) -> Page:
        """A page of tasks."""
        with self._asked(wanted.filter, grant, now) as question:
            return listing.page(question, wanted)

    def get(self, task_id: str, grant: Grant) -> Raw | None:
        """One task."""
        with self._database.reading() as connection:
            return listing.one(connection, task_id, grant)

    def several(self, task_ids: Sequence[str]) -> Sequence[Raw | None]:
        """Some tasks, whoever may see them."""
        with self._database.reading() as connection:
            return listing.several(connection, task_ids)

    def counts(self, chosen: Filter, grant: Grant, by: Sequence[CountBy], now: float) -> Counts:
        """How many tasks there are."""
        with self._asked(chosen, grant, now) as question:
            return statistics.counts(question, by)

    def series(self, chosen: Filter, grant: Grant, span: tuple[float, float], buckets: int, now: float) -> Series:
        """What happened when."""
        with self._asked(chosen, grant, now) as question:
            return timeline.series(question, *span, buckets)

    def names(self, chosen: Filter, grant: Grant, since: float | None, now: float) -> Sequence[NameStats]:
        """The tasks by name."""
        with self._asked(chosen, grant, now) as question:
            return timeline.names(question, since)

    def numbers(self, now: float) -> Numbers:
        """Counts by state and kind, and the rates of the last minute."""
        with self._database.reading() as connection:
            return statistics.numbers(Question(connection, (), now, self._database.sqlite))

    def unfinished(self, after: str, limit: int) -> Sequence[str]:
        """Ids of unfinished tasks."""
        with self._database.reading() as connection:
            return listing.unfinished(connection, after, limit)

    def reach(self) -> Reach:
        """How far back the catalogue is whole."""
        with self._database.reading() as connection:
            return listing.reach(connection)

    def retain(self, older_than: float, limit: int = 500) -> int:
        """Forget old finished tasks."""
        with self._writing:
            return retention.forget(self._database, self._writer, older_than, limit)

    @contextmanager
    def _asked(self, chosen: Filter, grant: Grant, now: float) -> Iterator[Question]:
        with self._database.reading() as connection:
            yield Question(connection, conditions_of(connection, chosen, grant, now), now, self._database.sqlite)

    def check(self) -> None:
        """See whether the database is still where it was."""
        self._database.check()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
