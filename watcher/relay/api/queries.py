"""What may be asked about tasks: which of them, how many, when, and by name. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self, cast

from watcher.core.errors import BadRequest
from watcher.core.figures import CountBy
from watcher.core.filters import Filter, Group, InvalidFilter, Span, parse
from watcher.core.filters.values import Glob, State, quoted
from watcher.relay.api.parameters import Parameters

__all__ = ["CountsQuery", "ListQuery", "NamesQuery", "SeriesQuery"]

#: Parameters of a list that name channels, those with the fewest tasks first.
_CHANNELS: Final = ("root", "group", "tag", "name")
#: A moment that means itself in a filter.
_PLAIN: Final = re.compile(r"[A-Za-z0-9:.+-]+")
#: Seconds that a series reaches back where nothing else is said.
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list of tasks.

    :param filter: all of what is wanted. ``channels``: some that each of these tasks is on.
    :param sort: one of :data:`watcher.relay.api.schemas.SORTS`.
    :param limit: how many tasks at most.
    :param before: ``next`` of the page before; a whole number where they are sorted by ``when``.
    """

    filter: Filter
    channels: tuple[str, ...]
    sort: str
    limit: int
    before: int | str | None

    @classmethod
    def read(cls, given: Parameters, usual_sort: str = "when") -> Self:
        """From its parameters.

        :raises BadRequest: they don't go together, or the filter is none.
        """
        exactly = [Group(key, False, (Glob((value,)),)) for key in _CHANNELS for value in given.all(key)]
        if states := given.all("state"):
            exactly.append(Group("state", False, tuple(State(name, exact=True) for name in dict.fromkeys(states))))
        sort, before = given.text("sort") or usual_sort, given.text("before")
        whole = before is not None and before.isascii() and before.isdigit()
        if before is not None and whole != (sort == "when"):
            raise BadRequest(f"parameter 'before': belongs to a list that is not sorted by {sort}")
        return cls(
            filter=Filter((*_filter(given).groups, *exactly)),
            channels=tuple(f"{key}:{value}" for key in _CHANNELS for value in given.all(key)),
            sort=sort,
            limit=given.number("limit"),
            before=int(before) if before is not None and sort == "when" else before,
        )


@dataclass(frozen=True, slots=True)
class CountsQuery:
    """How many tasks there are, by up to two of their values."""

    filter: Filter
    by: tuple[CountBy, ...]

    @classmethod
    def read(cls, given: Parameters) -> Self:
        """From its parameters.

        :raises BadRequest: they ask for more than two, or the filter is none.
        """
        by = tuple(name for text in given.all("by") for name in text.split(","))
        if len(set(by)) < len(by):
            raise BadRequest(f"parameter 'by': each may be given once, not {','.join(by)[:80]!r}")
        if len(by) > 2:
            raise BadRequest(f"parameter 'by': two at most are accepted, not {len(by)}")
        return cls(_filter(given), cast("tuple[CountBy, ...]", by))


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """What happened in equal parts of a span of time; moments in Unix seconds."""

    filter: Filter
    since: float
    until: float
    buckets: int

    @classmethod
    def read(cls, given: Parameters, now: float) -> Self:
        """From its parameters.

        :raises BadRequest: one is no moment, the span is none, or the filter is none.
        """
        span = _span(given, now, "since", "until")
        until = now if span.until is None else span.until
        since = until - _HOUR if span.since is None else span.since
        if since >= until:
            raise BadRequest("parameter 'since': must be before 'until', which is now where it isn't given")
        return cls(_filter(given), since, until, given.number("buckets"))


@dataclass(frozen=True, slots=True)
class NamesQuery:
    """The tasks by name; ``since`` in Unix seconds, None: all of them."""

    filter: Filter
    since: float | None

    @classmethod
    def read(cls, given: Parameters, now: float) -> Self:
        """From its parameters.

        :raises BadRequest: ``since`` is no moment, or the filter is none.
        """
        return cls(_filter(given), _span(given, now, "since").since)


def _filter(given: Parameters) -> Filter:
    try:
        return parse(given.text("filter") or "")
    except InvalidFilter as error:
        raise BadRequest(f"parameter 'filter': {error}") from None


def _span(given: Parameters, now: float, *names: str) -> Span:
    """From the moments that parameters say, as terms of a filter do."""
    said = [
        f"{name}:{value if _PLAIN.fullmatch(value) else quoted(value)}" for name in names for value in given.all(name)
    ]
    try:
        return parse(" ".join(said)).span(now)
    except InvalidFilter as error:
        raise BadRequest(f"parameter {error}") from None
