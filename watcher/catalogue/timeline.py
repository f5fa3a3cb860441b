"""What happened when, and how long it took: series, and tasks by name. From the rollups where these know it.

The rollups are of whole minutes. So a series that they answer begins at a full minute, and has steps of full minutes;
one of few tasks, or with a filter that they know nothing of, is counted from the tasks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Table, and_, cast, func, select

from watcher.catalogue.conditions import Columns, Condition, within
from watcher.catalogue.durations import quantile
from watcher.catalogue.rollups import ALL_TIME
from watcher.catalogue.rows import RUNTIME, WAITED, minute_of
from watcher.catalogue.selecting import Question
from watcher.catalogue.tables import durations, minutes, tasks
from watcher.core.figures import Bucket, Longest, NameStats, Quantiles, Series

__all__ = ["names", "rates", "series"]

#: A series of about so many tasks at most is counted from these, if it is to have steps of less than a minute.
_FEW: Final = 20_000
_MINUTE: Final = 60
_RECENT: Final = 60
#: What the minutes know of a task.
_KNOWN: Final = frozenset({"name"})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A series that is wanted: ``count`` buckets of ``step`` seconds from ``since`` on."""

    since: float
    step: float
    count: int

    @property
    def until(self) -> float:
        return self.since + self.step * self.count


class _Tally:
    """What one bucket, or one name, has so far."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.taken: dict[int, Counter[int]] = {RUNTIME: Counter(), WAITED: Counter()}
        self.seen = 0.0
        self.most = {RUNTIME: 0.0, WAITED: 0.0}

    def end(self, state: str, runtime: int | None, waited: int | None, count: int) -> None:
        """So many have ended."""
        self.counts[_ENDS.get(state, "other")] += count
        for what, number in ((RUNTIME, runtime), (WAITED, waited)):
            if number is not None:
                self.taken[what][number] += count

    def quantiles(self, what: int) -> Quantiles | None:
        """Of what they took."""
        counts = self.taken[what]
        return Quantiles(quantile(counts, 0.5), quantile(counts, 0.95)) if counts.total() else None

    def see(self, seen: float, runtime: float | None = None, waited: float | None = None) -> None:
        """The newest that was heard, and the longest that was taken."""
        self.seen = max(self.seen, seen)
        self.most[RUNTIME] = max(self.most[RUNTIME], runtime or 0.0)
        self.most[WAITED] = max(self.most[WAITED], waited or 0.0)

    def stats(self, name: str) -> NameStats:
        """What is told of a name."""
        taken = {"runtime": self._longest(RUNTIME), "waited": self._longest(WAITED)}
        return NameStats(name=name, count=self.counts["changed"], failed=self.counts["failed"], seen=self.seen, **taken)

    def _longest(self, what: int) -> Longest | None:
        found, most = self.quantiles(what), self.most[what]
        return None if found is None else Longest(min(found.p50, most), min(found.p95, most), most)


_HAPPENS: Final = ("sent", "succeeded", "failed", "other")
_ENDED: Final = Condition(lambda of: of["final"] == 1, frozenset({"final"}))
_ENDS: Final = {"SUCCESS": "succeeded", "FAILURE": "failed"}


def series(question: Question, since: float, until: float, most: int) -> Series:
    """What happened in a span of time (Unix seconds), in so many buckets at most."""
    buckets: defaultdict[int, _Tally] = defaultdict(_Tally)
    if question.knows(_KNOWN) and ((until - since) / most >= _MINUTE or _tasks_within(question, since, until) > _FEW):
        wanted = _in_minutes(since, until, most)
        _read_minutes(question, wanted, buckets)
    else:
        wanted = _Wanted(since, (until - since) / most, most)
        _read_tasks(question, wanted, buckets)
    listed = []
    for number in range(wanted.count):
        tally = buckets[number]
        sent, succeeded, failed, other = (tally.counts[name] for name in _HAPPENS)
        taken = tally.quantiles(RUNTIME), tally.quantiles(WAITED)
        listed.append(Bucket(wanted.since + number * wanted.step, sent, succeeded, failed, other, *taken))
    return Series(wanted.since, wanted.until, wanted.step, listed)


def _tasks_within(question: Question, since: float, until: float) -> int:
    """About how many tasks have changed in a span of time."""
    statement = select(func.sum(minutes.c.changed))
    statement = statement.where(minutes.c.minute >= minute_of(since), minutes.c.minute <= minute_of(until))
    return int(question.connection.execute(question.of(minutes, statement)).scalar() or 0)


def _in_minutes(since: float, until: float, most: int) -> _Wanted:
    first, last = minute_of(since), math.ceil(until / _MINUTE)
    step = max(1, math.ceil((last - first) / most))
    return _Wanted(first * _MINUTE, step * _MINUTE, math.ceil((last - first) / step))


def _read_minutes(question: Question, wanted: _Wanted, buckets: defaultdict[int, _Tally]) -> None:
    first, last, step = minute_of(wanted.since), minute_of(wanted.until), int(wanted.step) // _MINUTE

    def read(table: Table, key: Sequence[str], sums: Sequence[str]) -> Iterator[Any]:
        bucket = ((table.c.minute - first) // step).label("bucket")
        group = (bucket, *(table.c[name] for name in key))
        statement = select(*group, *(func.sum(table.c[name]) for name in sums))
        statement = statement.where(table.c.minute >= first, table.c.minute < last).group_by(*group)
        yield from question.connection.execute(question.of(table, statement))

    for number, *sums in read(minutes, (), _HAPPENS):
        buckets[number].counts.update(dict(zip(_HAPPENS, map(int, sums), strict=True)))
    for number, what, group, count in read(durations, ("what", "class"), ("tasks",)):
        buckets[number].taken[what][group] += int(count)


def _read_tasks(question: Question, wanted: _Wanted, buckets: defaultdict[int, _Tally]) -> None:
    def sent(of: Columns) -> ColumnElement[bool]:
        return and_(of["sent"] >= wanted.since, of["sent"] < wanted.until)

    for number, count in _grouped(question.also(Condition(sent, frozenset({"sent"}), narrow=True)), wanted, "sent", ()):
        buckets[number].counts["sent"] += count
    ended = question.also(within(question.connection, wanted.since, wanted.until)).also(_ENDED)
    key = ("state", "runtime_class", "waited_class")
    for number, state, runtime, waited, count in _grouped(ended, wanted, "changed", key):
        buckets[number].end(state, runtime, waited, count)


def _grouped(question: Question, wanted: _Wanted, moment: str, by: Sequence[str]) -> Iterator[Any]:
    place = (tasks.c[moment] - wanted.since) / wanted.step
    # A cast rounds on PostgreSQL, and cuts off on SQLite, some of which have no floor().
    bucket = cast(place if question.for_sqlite else func.floor(place), Integer).label("bucket")
    statement, _ = question.tasks((bucket, *(tasks.c[name] for name in by)))
    group = list(statement.subquery().c)
    for number, *values in question.connection.execute(select(*group, func.count()).group_by(*group)):
        yield min(number, wanted.count - 1), *values


def rates(question: Question) -> dict[str, int]:
    """How many tasks were sent and have ended in the last minute, by kind."""
    connection, since = question.connection, question.now - _RECENT
    tally = _Tally()
    tally.counts["sent"] = connection.execute(select(func.count()).where(tasks.c.sent > since)).scalar() or 0
    recent = question.also(within(connection, since, None)).also(_ENDED)
    statement, _ = recent.tasks((tasks.c.state,))
    inner = statement.subquery().c
    for state, count in connection.execute(select(inner.state, func.count()).group_by(inner.state)):
        tally.end(state, None, None, count)
    return {name: tally.counts[name] for name in _HAPPENS}


def names(question: Question, since: float | None) -> list[NameStats]:
    """The tasks by name: those that have changed since a moment (its full minute), or all."""
    found: defaultdict[str, _Tally] = defaultdict(_Tally)
    if question.knows(_KNOWN):
        _read_names(question, ALL_TIME if since is None else minute_of(since), found)
    else:
        _read_named(question, since, found)
    listed = [tally.stats(name) for name, tally in found.items() if name and tally.counts["changed"]]
    return sorted(listed, key=lambda each: (-each.count, each.name))


def _read_names(question: Question, first: int, found: defaultdict[str, _Tally]) -> None:
    def read(table: Table, key: Sequence[str], values: Sequence[ColumnElement[Any]]) -> Iterator[Any]:
        group = [table.c[name] for name in ("name", *key)]
        minute = table.c.minute
        statement = select(*group, *values).where(minute == first if first == ALL_TIME else minute >= first)
        yield from question.connection.execute(question.of(table, statement.group_by(*group)))

    of = minutes.c
    most = (func.max(of.seen), func.max(of.longest_run), func.max(of.longest_wait))
    for name, changed, failed, *longest in read(minutes, (), (func.sum(of.changed), func.sum(of.failed), *most)):
        found[name].counts.update({"changed": int(changed), "failed": int(failed)})
        found[name].see(*longest)
    for name, what, group, count in read(durations, ("what", "class"), (func.sum(durations.c.tasks),)):
        found[name].taken[what][group] += int(count)


def _read_named(question: Question, since: float | None, found: defaultdict[str, _Tally]) -> None:
    if since is not None:
        question = question.also(within(question.connection, minute_of(since) * _MINUTE, None))
    by, moments = ("name", "state", "final", "runtime_class", "waited_class"), ("changed", "runtime", "waited")
    statement, _ = question.tasks([tasks.c[name] for name in (*by, *moments)])
    inner = statement.subquery().c
    group, most = [inner[name] for name in by], [func.max(inner[name]) for name in moments]
    counted = question.connection.execute(select(*group, func.count(), *most).group_by(*group))
    for name, state, final, runtime, waited, count, changed, *longest in counted:
        tally = found[name or ""]
        tally.counts["changed"] += count
        tally.see(changed, *(longest if final else ()))
        if final:
            tally.end(state, runtime, waited, count)
