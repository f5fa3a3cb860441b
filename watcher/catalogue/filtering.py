"""From the filter language to conditions in SQL, which say the same as ``Filter.matches`` says of a task.

Names, queues, workers and kinds of errors are few, and the tallies have all that there are. So which of them a pattern
means is found out in Python, by the language's own rules, and the database is asked for these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, false, func, not_, or_, select

from watcher.catalogue.conditions import Columns, Condition, seen_by, tagged, within
from watcher.catalogue.globs import ANY, Piece, any_of
from watcher.catalogue.globs import Glob as Pattern
from watcher.catalogue.tables import tallies
from watcher.catalogue.texts import storable
from watcher.core.filters import Filter
from watcher.core.filters.filter import Group
from watcher.core.filters.matching import error_names, worker_names
from watcher.core.filters.values import Bound, Glob, Kind, State, Text
from watcher.core.kinds import WAITING, kind_of
from watcher.core.permissions import Grant

__all__ = ["conditions_of"]

#: Keys that are few values each, with what of a value is compared.
_FEW: Final[dict[str, Callable[[str | None], tuple[str, ...]]]] = {
    "name": lambda value: () if value is None else (value,),
    "queue": lambda value: () if value is None else (value,),
    "worker": worker_names,
    "error": error_names,
}
_COLUMNS: Final = {"id": "id", "parent": "parent", "group": "batch"}
#: By so much, in seconds, a moment that an index is asked for is further away: no rounding may leave a task out.
_SPARE: Final = 0.001


def conditions_of(connection: Connection, chosen: Filter, grant: Grant, now: float) -> tuple[Condition, ...]:
    """All that a task must meet to be wanted by a filter, and to be seen by the holder of a grant."""
    found = [_of_group(connection, group, now) for group in chosen.groups if group.key not in ("since", "until")]
    span = chosen.span(now)
    if span.since is not None or span.until is not None:
        found.append(within(connection, span.since, span.until))
    seen = seen_by(grant)
    return (*found, *(() if seen is None else (seen,)))


def _of_group(connection: Connection, group: Group, now: float) -> Condition:
    made = [_condition(connection, group.key, value, now) for value in group.alternatives]
    columns = frozenset[str]().union(*(each.columns for each in made))

    def of(those: Columns) -> ColumnElement[bool]:
        any_of_them = or_(false(), *(each.of(those) for each in made))
        return not_(func.coalesce(any_of_them, false())) if group.negated else any_of_them

    return Condition(of, columns, narrow=not group.negated and all(each.narrow for each in made))


def _condition(connection: Connection, key: str, value: Any, now: float) -> Condition:
    match value:
        case State():
            return Condition(lambda of: of["state"].in_(value.names), frozenset({"state"}), narrow=True)
        case Kind():
            return _of_kind(connection, value.name, now)
        case Bound():
            return _bound(key, value, now)
        case Text():
            return Condition(lambda of: _has(of, value.needle), frozenset({"words"}))
        case Glob() if key in _FEW:
            return _among(key, _meant(connection, key, value))
        case Glob():
            return _pattern(key, value)
    raise TypeError(f"{value!r} of {key!r} is no condition")


def _meant(connection: Connection, column: str, value: Glob) -> list[str]:
    """Those values of a column that are meant."""
    if value.literal is not None and column in ("name", "queue"):
        return [value.literal]
    known = connection.execute(select(tallies.c[column]).distinct()).scalars()
    return [each for each in known if each and any(map(value.matches, _FEW[column](each)))]


def _among(column: str, values: Sequence[str]) -> Condition:
    return Condition(lambda of: of[column].in_(values), frozenset({column}), narrow=True)


def _pattern(key: str, value: Glob) -> Condition:
    pieces: list[Piece] = []
    for number, part in enumerate(value.parts):
        pieces += [ANY] if number else []
        pieces += [Piece("text", char) for char in part]
    glob: Pattern = tuple(pieces)
    if key == "tag":
        return Condition(lambda of: tagged(of, {glob}), frozenset({"tag"}), narrow=True)
    if key == "root":
        return Condition(lambda of: _root(of, glob), frozenset({"root", "id"}), narrow=True)
    return Condition(lambda of: _like(of, _COLUMNS[key], glob), frozenset({_COLUMNS[key]}), narrow=True)


def _like(of: Columns, column: str, glob: Pattern) -> ColumnElement[bool]:
    found = any_of(of[column], [glob], for_sqlite=of.for_sqlite)
    return false() if found is None else found


def _root(of: Columns, glob: Pattern) -> ColumnElement[bool]:
    """A task whose root isn't known is its own."""
    return or_(_like(of, "root", glob), and_(of["root"].is_(None), _like(of, "id", glob)))


def _of_kind(connection: Connection, kind: str, now: float) -> Condition:
    """Which states are of a kind is found out from those that there are: an index leads to these, and to no others."""
    if kind == "scheduled":
        return Condition(lambda of: of["due"] > now, frozenset({"due"}), narrow=True)
    if kind in ("queued", "retrying"):
        states: Sequence[str] = [state for state in WAITING if (state == "RETRY") is (kind == "retrying")]
    else:
        known = connection.execute(select(tallies.c.state, tallies.c.lost).distinct())
        states = [state for state, lost in known if kind_of(state, "worker_lost" if lost else None) == kind]
    lost = int(kind == "lost")

    def of(columns: Columns) -> ColumnElement[bool]:
        found = and_(columns["state"].in_(states), columns["lost"] == lost)
        return and_(found, or_(columns["due"].is_(None), columns["due"] <= now)) if kind == "queued" else found

    used = frozenset({"state", "lost", "due"} if kind == "queued" else {"state", "lost"})
    return Condition(of, used, narrow=True)


def _bound(key: str, bound: Bound, now: float) -> Condition:
    """How long a task ran, or waited; or has so far."""
    ended, since = ("runtime", "running_since") if key == "runtime" else ("waited", "waiting_since")
    seconds, least = bound.seconds, bound.operator in (">", ">=")

    def compared(value: ColumnElement[Any]) -> ColumnElement[bool]:
        if bound.operator == ">":
            return value > seconds
        if bound.operator == ">=":
            return value >= seconds
        return value < seconds if bound.operator == "<" else value <= seconds

    def of(columns: Columns) -> ColumnElement[bool]:
        begun = columns[since]
        near = begun <= now - seconds + _SPARE if least else begun >= now - seconds - _SPARE
        # What begins in the future, by its own clock, has taken no time.
        far = and_(near, compared(now - begun)) if not (bound.operator == ">=" and not seconds) else begun.is_not(None)
        if bound.operator == "<" and not seconds:
            far = false()
        return or_(compared(columns[ended]), far)

    return Condition(of, frozenset({ended, since}), narrow=True)


def _has(of: Columns, needle: str) -> ColumnElement[bool]:
    find = func.instr if of.for_sqlite else func.strpos
    return find(of["words"], storable(needle)) > 0
