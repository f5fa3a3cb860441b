"""A filter: which tasks are asked for. Parsed once, from one text, for everybody. Pure.

:func:`parse` reads it, :meth:`Filter.matches` decides about one task, and whoever translates it (to SQL) goes over
:attr:`Filter.groups`, all of which must hold, and takes ``since`` and ``until`` of :meth:`Filter.span`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Final

from watcher.core.event import Task
from watcher.core.filters.errors import InvalidFilter, shown
from watcher.core.filters.keys import KEYS
from watcher.core.filters.matching import holds
from watcher.core.filters.parsing import value_of
from watcher.core.filters.terms import terms
from watcher.core.filters.values import Absolute, Ago, Clock, Local, Value
from watcher.core.moments import Wall

__all__ = ["EVERYTHING", "Filter", "Group", "Span", "parse"]

_SECOND: Final = 1_000_000
_MOMENTS: Final = ("since", "until")


@dataclass(frozen=True, slots=True)
class Group:
    """What stands behind one key: it holds if any of the alternatives does, or, if negated, if none does.

    :param key: empty for free text.
    """

    key: str
    negated: bool
    alternatives: tuple[Value, ...]

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        before = ("-" if self.negated else "") + (f"{self.key}:" if self.key else "")
        return " ".join(before + value.text for value in self.alternatives)


@dataclass(frozen=True, slots=True)
class Span:
    """Of when the tasks last changed: not before ``since``, before ``until``; Unix seconds, None for no bound."""

    since: float | None = None
    until: float | None = None

    def holds(self, timestamp: float) -> bool:
        """Whether a moment is in it."""
        return (self.since is None or timestamp >= self.since) and (self.until is None or timestamp < self.until)


@dataclass(frozen=True)
class Filter:
    """Which tasks are asked for: those of which all groups hold.

    :param groups: in the order in which they were first named; no two that could be one.
    """

    groups: tuple[Group, ...] = ()

    @cached_property
    def text(self) -> str:
        """The filter in its canonical form: :func:`parse` makes an equal one of it."""
        return " ".join(group.text for group in self.groups)

    def matches(self, task: Task, now: float, zone: tzinfo | None = UTC) -> bool:
        """Whether a task is asked for.

        :param now: Unix seconds; durations go on with it.
        :param zone: of clock times and dates without an offset; None is the machine's own.
        """
        return self.span(now, zone).holds(task.timestamp) and all(
            any(holds(value, group.key, task, now) for value in group.alternatives) is not group.negated
            for group in self.groups
            if group.key not in _MOMENTS
        )

    def span(self, now: float, zone: tzinfo | None = UTC) -> Span:
        """What all of ``since`` and ``until`` say together. It is empty where it ends before it begins.

        A clock time is the last moment before ``now`` at which clocks showed it; that of ``since`` the last one before
        the span's end, so that ``since:22:00 until:03:10`` is one night at any time of the day.
        """

        def moments(key: str, *, negated: bool, before: float | None = None) -> list[float]:
            return [
                _moment(value, key, now, zone, before)
                for group in self.groups
                if (group.key, group.negated) == (key, negated)
                for value in group.alternatives
            ]

        ends = moments("until", negated=False)
        begins = moments("since", negated=False, before=min(ends, default=None))
        begins += moments("until", negated=True)
        ends += moments("since", negated=True)
        return Span(max(begins, default=None), min(ends, default=None))

    def absolute(self, now: float, zone: tzinfo | None = UTC) -> Filter:
        """The same filter with moments that mean the same to everybody, wherever and whenever they read it.

        Of durations (``since:2h``) too, so that what is asked for stays what it is while its pages are read.
        """
        span = self.span(now, zone)
        bounds = [
            Group(key, negated=False, alternatives=(Absolute(max(0, round(moment * _SECOND))),))
            for key, moment in (("since", span.since), ("until", span.until))
            if moment is not None
        ]
        return Filter((*(group for group in self.groups if group.key not in _MOMENTS), *bounds))


EVERYTHING: Final = Filter()


def parse(text: str, *, now: float | None = None, zone: tzinfo | None = UTC) -> Filter:
    """Read a filter.

    :param text: as docs/filters.md has it; an empty one asks for everything.
    :param now: Unix seconds. With it, a filter is refused that ends before it begins.
    :param zone: of clock times and dates without an offset; None is the machine's own.
    :raises InvalidFilter: a term is wrong; the error names it, what is accepted, and what may have been meant.
    """
    groups: list[Group] = []
    for term in terms(text):
        _add(groups, term.key, term.negated, value_of(term))
    read = Filter(tuple(groups))
    if now is not None:
        _check_span(read, now, zone)
    return read


def _add(groups: list[Group], key: str, negated: bool, value: Value) -> None:
    """Add a term to the group that it is an alternative in, or as a group of its own; never one twice."""
    alternative = key in KEYS and KEYS[key].any
    for at, group in enumerate(groups):
        if (group.key, group.negated) == (key, negated) and (alternative or value in group.alternatives):
            if value not in group.alternatives:
                groups[at] = replace(group, alternatives=(*group.alternatives, value))
            return
    groups.append(Group(key, negated, (value,)))


def _check_span(read: Filter, now: float, zone: tzinfo | None) -> None:
    span = read.span(now, zone)
    if span.since is not None and span.until is not None and span.since > span.until:
        named = " ".join(group.text for group in read.groups if group.key in _MOMENTS)
        raise InvalidFilter(shown(named), "this span ends before it begins")


def _moment(value: Value, of: str, now: float, zone: tzinfo | None, before: float | None = None) -> float:
    """A moment in Unix seconds.

    :param of: the key that it belongs to: until a day is until its end.
    :param before: a clock time is the last one before this; else the last one up to ``now``.
    """
    match value:
        case Ago():
            return now - value.duration / _SECOND
        case Absolute():
            return value.moment / _SECOND
        case Local():
            wall = _day(value.wall, 1) if value.day and of == "until" else value.wall
            return wall.at(zone) / _SECOND
        case Clock():
            limit = now if before is None else before
            shows = datetime.fromtimestamp(limit, zone)
            wall = Wall(shows.year, shows.month, shows.day, value.hour, value.minute, value.second)
            moment = wall.at(zone) / _SECOND
            passed = moment <= limit if before is None else moment < limit
            return moment if passed else _day(wall, -1).at(zone) / _SECOND
    raise TypeError(f"{value!r} is no moment")


def _day(wall: Wall, days: int) -> Wall:
    """The same time of day so many days later."""
    moved = date(wall.year, wall.month, wall.day) + timedelta(days)
    return wall._replace(year=moved.year, month=moved.month, day=moved.day)
