"""What the catalogue can be asked, and what it answers: the interface, and its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, get_args

import msgspec
from msgspec import Raw

from watcher.core.event import Event
from watcher.core.figures import Count, CountBy, Gap, NameStats, Series
from watcher.core.filters import Filter
from watcher.core.permissions import Grant

__all__ = [
    "MOST_COUNTS",
    "SORTS",
    "Away",
    "Catalogue",
    "Counts",
    "Fenced",
    "Listed",
    "Numbers",
    "Page",
    "Position",
    "Reach",
    "Removed",
    "Sort",
    "Unusable",
]

Sort: TypeAlias = Literal["when", "sent", "runtime", "waited"]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
#: Most rows of counts.
MOST_COUNTS: Final = 1000


class Unusable(Exception):
    """The database can't be a catalogue as it is, being of another version, or somebody else's; it says what to do."""


class Away(Exception):
    """The database doesn't answer, is full, or refuses; what was asked may be tried again."""


class Removed(Away):
    """The database's file is gone, or another one is in its place: it has to be opened again."""


class Fenced(Exception):
    """Another writer has moved the position: nothing was written. :meth:`Catalogue.position` says where to go on."""


class Position(NamedTuple):
    """Up to where the catalogue is whole: epoch (empty: it has seen none) and offset within it."""

    epoch: str
    offset: int


class Listed(NamedTuple):
    """Which tasks are wanted.

    :param sort: descending always. ``limit``: how many tasks at most. ``before``: ``next`` of the page before.
    :param size: bytes of tasks that the page may have; there is one task in any case.
    """

    filter: Filter
    sort: Sort = "when"
    limit: int = 100
    before: int | str | None = None
    size: int = 2**21


class Page(NamedTuple):
    """Tasks as JSON, each as the API shows it; ``next`` is ``before`` of the next page, None where there is none.

    :param position: up to where the answer is whole.
    """

    tasks: list[Raw]
    next: int | str | None
    position: Position


class Counts(NamedTuple):
    """Counts, most first; ``more``: whether there are others than these."""

    total: int
    counts: list[Count]
    more: bool
    position: Position


class Numbers(msgspec.Struct, frozen=True):
    """How many tasks there are, by state and by kind, and what happened in the last minute."""

    states: dict[str, int]
    kinds: dict[str, int]
    total: int
    rates: dict[str, int]


class Reach(msgspec.Struct, frozen=True):
    """How far back the catalogue is whole (Unix seconds; None: all of the journal's life), and what is missing."""

    since: float | None
    gaps: list[Gap]


class Catalogue(Protocol):
    """The tasks of a journal in a database. Every method may be called in any thread, and blocks.

    Each may raise :class:`Away`, and those that write :class:`Fenced`; then nothing has been written.
    """

    def position(self) -> Position:
        """Up to where the catalogue is whole."""

    @property
    def skipped(self) -> int:
        """How often what came of a task was left out, since the database refuses it: nothing else waits for that."""

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
        """Begin with a journal, go on with another one, or after a gap in this one, which is recorded.

        :param first: offset of the next event. ``kept``: older events of unfinished tasks, ascending by offset.
        :param since: when that next event was, Unix seconds; None where the journal has nothing before it, and none.
        :param lost: events that the journal before had beyond :meth:`position`; None: that isn't known.
        """

    def apply(self, epoch: str, events: Sequence[tuple[int, bytes]], upto: int | None = None) -> None:
        """Take the next events, ascending by offset, and move the position to the last one, or to ``upto``."""

    def complete(self, told: Sequence[Event]) -> None:
        """Take the ends of unfinished tasks from elsewhere than the journal; those that it knows to have ended stay."""

    def list(self, wanted: Listed, grant: Grant, now: float) -> Page:
        """A page of tasks."""

    def get(self, task_id: str, grant: Grant) -> Raw | None:
        """One task; None where it isn't known, or may not be seen."""

    def several(self, task_ids: Sequence[str]) -> Sequence[Raw | None]:
        """Some tasks, in order, a hundred at most; None for one that isn't known. Who may see them isn't asked."""

    def counts(self, chosen: Filter, grant: Grant, by: Sequence[CountBy], now: float) -> Counts:
        """How many tasks there are, by up to two of :data:`BY`."""

    def series(self, chosen: Filter, grant: Grant, span: tuple[float, float], buckets: int, now: float) -> Series:
        """What happened in a span of time, from and to (Unix seconds), in so many buckets at most."""

    def names(self, chosen: Filter, grant: Grant, since: float | None, now: float) -> Sequence[NameStats]:
        """The tasks by name, most first."""

    def numbers(self, now: float) -> Numbers:
        """Counts by state and kind, and the rates of the last minute: of all tasks."""

    def unfinished(self, after: str, limit: int) -> Sequence[str]:
        """Ids of unfinished tasks, ascending, from the one after ``after`` on."""

    def reach(self) -> Reach:
        """How far back the catalogue is whole."""

    def retain(self, older_than: float, limit: int = 500) -> int:
        """Forget finished tasks that last changed before that (Unix seconds); returns how many, ``limit`` at most."""

    def check(self) -> None:
        """See whether the database is still where it was.

        :raises Removed: it isn't.
        """

    def close(self) -> None:
        """Let go of the database."""
