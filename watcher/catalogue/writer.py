"""The one way into the catalogue: events are folded into tasks, and these written with all that is counted of them.

Everything that a batch changes, and the position after it, is one transaction. Its first statement moves the position
from where this writer believes it to be: a writer that another one has overtaken writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from watcher.catalogue.catalogue import Fenced
from watcher.catalogue.database import Database, Unwritable
from watcher.catalogue.rollups import Deltas
from watcher.catalogue.rows import Row, row_of
from watcher.catalogue.tables import details, durations, gaps, minutes, spans, state, tags, tallies, tasks
from watcher.catalogue.texts import storable
from watcher.catalogue.upserts import Upsert, each
from watcher.core.event import FINAL_STATES, Event, InvalidEvent, Task, decode, fold, is_final
from watcher.core.kinds import WAITING

__all__ = ["Known", "Place", "Writer", "known_by"]

logger = logging.getLogger(__name__)

#: Unfinished tasks that are kept as they are, at most: they are likely to be heard of soon.
_REMEMBERED: Final = 10_000
#: Tasks that one statement asks for.
_ASKED: Final = 500

_NOT_RUNNING: Final = frozenset((*WAITING, *FINAL_STATES))

_encode = msgspec.json.Encoder().encode
_decode_task = msgspec.json.Decoder(Task).decode
_SET: Final = tuple(column.name for column in tasks.columns if column.name not in ("key", "id"))


class Known(NamedTuple):
    """A task as it is in the catalogue, and its row."""

    task: Task
    row: Row


class Place(NamedTuple):
    """Where the catalogue stands; an event is at ``base`` and its offset."""

    epoch: str
    offset: int
    base: int


#: The events of some tasks by id, each with its offset, ascending.
_Events: TypeAlias = dict[str, list[tuple[int, Event]]]
#: Writes what tasks with these ids have become, and tells it.
_Write: TypeAlias = Callable[[Sequence[str]], dict[str, Known]]


class Writer:
    """Writes one catalogue; not to be used by two threads at once."""

    def __init__(self, database: Database) -> None:
        lite = database.sqlite
        self._database = database
        #: How often what came of a task was left out, since it could not be written.
        self.skipped = 0
        self._place: Place | None = None  # as far as known; None: to be asked for
        self._known: dict[str, Known] = {}  # unfinished tasks, the least recently changed first
        self._tasks = Upsert(tasks, each(_SET, "set"), for_sqlite=lite)
        self._touched = Upsert(tasks, each(("touched", "changed"), "set"), for_sqlite=lite)
        self._details = Upsert(details, {"task": "set"}, for_sqlite=lite)
        self._tags = Upsert(tags, {}, for_sqlite=lite)
        self._tallies = Upsert(tallies, {"tasks": "add"}, for_sqlite=lite)
        sums, longest = ("sent", "changed", "succeeded", "failed", "other"), ("seen", "longest_run", "longest_wait")
        self._minutes = Upsert(minutes, each(sums, "add") | each(longest, "most"), for_sqlite=lite)
        self._durations = Upsert(durations, {"tasks": "add"}, for_sqlite=lite)
        self._spans = Upsert(spans, {"low": "least", "high": "most"}, for_sqlite=lite)

    def place(self) -> Place:
        """Where the catalogue stands, as far as this writer knows.

        :raises Away: the database doesn't answer.
        """
        if self._place is None:
            with self._database.reading() as connection:
                found = connection.execute(select(state.c.epoch, state.c.position, state.c.base)).one()
            self._place = Place(*found)
        return self._place

    def apply(self, epoch: str, events: Sequence[tuple[int, bytes]], upto: int | None = None) -> None:
        """Take the next events; see :meth:`watcher.catalogue.catalogue.Catalogue.apply`."""
        place = self.place()
        last = max(upto or 0, events[-1][0] if events else 0)
        if epoch != place.epoch:
            raise Fenced(f"the catalogue is of the journal {place.epoch!r}, not of {epoch!r}")
        if last <= place.offset:
            return
        fresh = [each for each in events if each[0] > place.offset]
        self._write(place, Place(epoch, last, place.base), fresh)

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
        """Go on at ``first``; see :meth:`watcher.catalogue.catalogue.Catalogue.begin`."""
        place = self.place()
        gap: dict[str, Any] | None
        if not place.epoch:  # nothing is missing that it ever had
            self._write(place, Place(epoch, first - 1, 0), kept, since=since)
        elif epoch == place.epoch:
            fresh = Place(epoch, max(place.offset, first - 1), place.base)
            newer = [each for each in kept if each[0] > place.offset]
            missing = fresh.offset - place.offset
            gap = {"at": fresh.base + fresh.offset, "events": missing, "until": since or now} if missing else None
            self._write(place, fresh, newer, gap=gap)
        else:
            # Offsets begin anew: what comes now must not be at a place where something was.
            base = place.base + place.offset
            # Of a journal that is gone there may always have been more than anybody has seen.
            missing = (lost or 0) + first - 1
            gap = {"at": base + first - 1, "events": missing or None, "until": since or now}
            self._write(place, Place(epoch, first - 1, base), kept, gap=gap)

    def _write(
        self,
        place: Place,
        fresh: Place,
        events: Sequence[tuple[int, bytes]],
        *,
        gap: dict[str, Any] | None = None,
        since: float | None = None,
    ) -> None:
        with self._guarded() as connection:
            self._move(connection, place, fresh, since)
            if gap is not None:
                _record(connection, gap)
            batch = _by_task(events)

            def folded(ids: Sequence[str]) -> dict[str, Known]:
                return self._fold(connection, {identity: batch[identity] for identity in ids}, fresh.base)

            changed = self._apart(connection, list(batch), folded)
        self._place = fresh
        self._remember(changed)

    def complete(self, told: Sequence[Event]) -> None:
        """Take the ends of unfinished tasks; see :meth:`watcher.catalogue.catalogue.Catalogue.complete`."""
        ends = {event.id: event for event in told if is_final(event.state)}
        with self._guarded() as connection:
            self.confirm(connection)

            def completed(ids: Sequence[str]) -> dict[str, Known]:
                changed: dict[str, Known] = {}
                before = self._find(connection, ids)
                for identity, known in before.items():
                    if not known.task.final:
                        task = fold(known.task, ends[identity], known.task.offset)
                        changed[identity] = Known(task, row_of(task, known.row.key, known.row.touched))
                self._store(connection, [(before[identity], new) for identity, new in changed.items()])
                return changed

            changed = self._apart(connection, list(ends), completed)
        self._remember(changed)

    @contextmanager
    def _guarded(self) -> Iterator[Connection]:
        """A transaction; where it fails, whether it was written is not known, and the database is asked."""
        try:
            with self._database.writing() as connection:
                yield connection
        except BaseException:
            self.forget()
            raise

    def confirm(self, connection: Connection) -> None:
        """See to it that no other writer writes in this transaction, nor has written.

        :raises Fenced: another one has.
        """
        place = self.place()
        self._move(connection, place, place, None)

    def forget(self) -> None:
        """Ask the database again, since somebody else may have written."""
        self._place = None
        self._known.clear()

    def _move(self, connection: Connection, place: Place, fresh: Place, since: float | None) -> None:
        values: dict[str, Any] = {"epoch": fresh.epoch, "position": fresh.offset, "base": fresh.base}
        if since is not None:
            values["since"] = since
        where = (state.c.epoch == place.epoch) & (state.c.position == place.offset) & (state.c.base == place.base)
        if connection.execute(update(state).where(where).values(values)).rowcount != 1:
            self.forget()
            raise Fenced("another writer has moved the catalogue's position")

    def _fold(self, connection: Connection, batch: _Events, base: int) -> dict[str, Known]:
        before = self._find(connection, batch)
        changed: dict[str, Known] = {}
        for identity, events in batch.items():
            old = before.get(identity)
            new = _folded(old, events, base)
            if new is not None:
                changed[identity] = new
        self._store(connection, [(before.get(identity), new) for identity, new in changed.items()])
        return changed

    def _apart(self, connection: Connection, ids: Sequence[str], write: _Write) -> dict[str, Known]:
        """Write tasks; one that can't be written is left out, and found by halves: it must hold up no other."""
        try:
            with self._database.part(connection):
                return write(ids)
        except Unwritable as error:
            if len(ids) < 2:
                self._skip(ids, error)
                return {}
        half = len(ids) // 2
        return self._apart(connection, ids[:half], write) | self._apart(connection, ids[half:], write)

    def _skip(self, ids: Sequence[str], error: Unwritable) -> None:
        self.skipped += len(ids)
        if self.skipped == 1:
            logger.warning(
                "the archive leaves out what can't be written of the task %.200r (%.200s); "
                "watcher_archive_skipped_total counts these, and no more are logged",
                "".join(ids), error,
            )  # fmt: skip

    def _store(self, connection: Connection, changes: Sequence[tuple[Known | None, Known]]) -> None:
        """Write what tasks have become."""
        deltas, whole, touched = Deltas(), list[Row](), list[Row]()
        labelled: list[tuple[Known | None, Known]] = []
        for old, new in changes:
            if old is not None and new.row.rests(old.row):
                touched.append(new.row)
                deltas.touch(old.row, new.row)
                continue
            whole.append(new.row)
            deltas.change(old.row if old is not None else None, new.row)
            if new.task.tags != (old.task.tags if old is not None else None):
                labelled.append((old, new))
        self._tasks(connection, whole)
        self._touched(connection, touched)
        self._details(connection, [(new.row.key, _encode(new.task)) for _, new in changes])
        self._label(connection, labelled)
        self.count(connection, deltas)

    def _find(self, connection: Connection, wanted: Iterable[str]) -> dict[str, Known]:
        """Those of the tasks that are in the catalogue."""
        found: dict[str, Known] = {}
        asked: list[str] = []
        for identity in wanted:
            if (known := self._known.get(identity)) is not None:
                found[identity] = known
            else:
                asked.append(identity)
        for start in range(0, len(asked), _ASKED):
            found |= known_by(connection, tasks.c.id.in_(asked[start : start + _ASKED]))
        return found

    def _label(self, connection: Connection, labels: Sequence[tuple[Known | None, Known]]) -> None:
        gone = [old.row.key for old, _ in labels if old is not None and old.task.tags]
        if gone:
            connection.execute(delete(tags).where(tags.c.key.in_(gone)))
        rows = {(storable(tag), new.row.key) for _, new in labels for tag in new.task.tags or ()}
        self._tags(connection, sorted(rows))

    def count(self, connection: Connection, deltas: Deltas) -> None:
        """Add to the rollups."""
        # In one order, so that two writers never wait for each other in a circle.
        self._tallies(connection, sorted(deltas.tallies()))
        self._minutes(connection, sorted(deltas.minutes()))
        self._durations(connection, sorted(deltas.durations()))
        self._spans(connection, sorted(deltas.spans()))

    def _remember(self, changed: dict[str, Known]) -> None:
        known = self._known
        for identity, new in changed.items():
            known.pop(identity, None)
            if not new.task.final:
                known[identity] = new
        while len(known) > _REMEMBERED:
            del known[next(iter(known))]


def known_by(connection: Connection, condition: ColumnElement[bool]) -> dict[str, Known]:
    """Tasks as they are in the catalogue, by id."""
    columns = (tasks.c.id, tasks.c.key, tasks.c.touched, details.c.task)
    found = connection.execute(select(*columns).join(details, details.c.key == tasks.c.key).where(condition))
    every: dict[str, Known] = {}
    for identity, key, touched, told in found:
        task = _decode_task(told)
        every[identity] = Known(task, row_of(task, key, touched))
    return every


def _folded(old: Known | None, events: Sequence[tuple[int, Event]], base: int) -> Known | None:
    """A task after some more events; None where all that is known of it is late: that tells of no state."""
    task = None
    if old is not None:
        task = old.task
        if old.row.touched <= base:  # of another journal, whose offsets say nothing here
            task = msgspec.structs.replace(task, offset=0)
    first = 0
    for offset, event in events:
        if task is not None or not event.late:
            first = first or offset
            task = fold(task, event, offset)
    if task is None:
        return None
    at = base + task.offset
    if old is not None and _goes_on(old.task, task):
        return Known(task, old.row._replace(touched=at, changed=task.timestamp))
    return Known(task, row_of(task, old.row.key if old is not None else base + first, at))


def _goes_on(before: Task, task: Task) -> bool:
    """Whether a running task has told how far it is, and nothing else: most is as it was then."""
    if task.state != before.state or task.state in _NOT_RUNNING:
        return False
    same = msgspec.structs.replace(
        task, timestamp=before.timestamp, offset=before.offset, meta=before.meta, meta_size=before.meta_size
    )
    return same == before


def _by_task(lines: Iterable[tuple[int, bytes]]) -> _Events:
    """The events of each task."""
    events: _Events = {}
    for offset, line in lines:
        try:
            event = decode(line)
        except InvalidEvent:  # it took its offset, and is nothing else
            continue
        mine = events.get(event.id)
        if mine is None:
            events[event.id] = [(offset, event)]
        else:
            mine.append((offset, event))
    return events


def _record(connection: Connection, gap: dict[str, Any]) -> None:
    newest = connection.execute(select(tasks.c.changed).order_by(tasks.c.touched.desc()).limit(1)).scalar()
    if newest is None:  # then nothing is known from before it
        connection.execute(update(state).values(since=gap["until"]))
        return
    since = min(newest, gap["until"])
    connection.execute(delete(gaps).where(gaps.c.at == gap["at"]))
    connection.execute(insert(gaps).values(since=since, **gap))
