"""What a filter and a grant ask of a task, as conditions in SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, and_, false, func, or_, select, type_coerce
from sqlalchemy.sql.expression import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from watcher.catalogue.globs import Glob, any_of, behind, parse
from watcher.catalogue.rows import minute_of
from watcher.catalogue.tables import spans, tags, tallies, tasks
from watcher.core.permissions import Grant

__all__ = ["Columns", "Condition", "seen_by", "tagged", "within"]

#: Column of ``tasks`` by the kind of channel that names it.
_CHANNELS: Final = {"task": "id", "root": "root", "group": "batch", "name": "name"}
#: Where most tasks may see nothing of it: a token's holder sees what is on one channel of these.
_TAG: Final = "tag"


class Columns:
    """The columns that a condition is about.

    :param table: ``tasks`` or ``tallies``, in which the empty text stands for none.
    :param idle: whether the database is not to look for them by an index: it knows little of what is in the tables.
    """

    def __init__(self, table: Table, *, for_sqlite: bool, idle: bool = False) -> None:
        self._table = table
        self._idle = idle
        self.for_sqlite = for_sqlite

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        column = self._table.c[name]
        if self._table is tallies:
            return func.nullif(column, "", type_=column.type) if name in _MAY_BE_EMPTY else column
        if not self._idle:
            return column
        if self.for_sqlite:  # a `+` before it
            return UnaryExpression(column, operator=custom_op("+"), type_=column.type)
        return type_coerce(column.concat(""), column.type) if name in _TEXTS else column + 0


_MAY_BE_EMPTY: Final = frozenset({"name", "queue", "worker", "error"})
_TEXTS: Final = _MAY_BE_EMPTY | {"id", "state", "root", "parent", "batch", "words"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One that all wanted tasks meet.

    :param of: makes it, of the columns that it is about.
    :param columns: the names of those. ``narrow``: whether an index may lead to the tasks that meet it.
    """

    of: Callable[[Columns], ColumnElement[bool]]
    columns: frozenset[str]
    narrow: bool = False


def seen_by(grant: Grant) -> Condition | None:
    """What the holder of a grant may see; None: everything."""
    if grant.may_watch("tasks"):
        return None
    kinds = (*_CHANNELS, _TAG)
    found = {kind: {glob for text in grant.watch for glob in behind(parse(text), f"{kind}:")} for kind in kinds}
    wanted = {kind: globs for kind, globs in found.items() if globs}

    def of(columns: Columns) -> ColumnElement[bool]:
        found: list[ColumnElement[bool]] = []
        for kind, globs in wanted.items():
            if kind == _TAG:
                found.append(tagged(columns, globs))
            else:
                condition = any_of(columns[_CHANNELS[kind]], globs, for_sqlite=columns.for_sqlite)
                found += [condition] if condition is not None else []
        return or_(false(), *found)

    used = frozenset(_CHANNELS.get(kind, "tag") for kind in wanted)
    return Condition(of, used, narrow=True)


def tagged(columns: Columns, globs: set[Glob]) -> ColumnElement[bool]:
    """The condition that one of a task's tags matches one of the globs."""
    condition = any_of(tags.c.tag, globs, for_sqlite=columns.for_sqlite)
    return columns["key"].in_(select(tags.c.key).where(condition if condition is not None else false()))


def within(connection: Connection, since: float | None, until: float | None) -> Condition:
    """That a task has last changed in a span of time: from the one moment on, before the other."""
    statement = select(func.min(spans.c.low), func.max(spans.c.high))
    if since is not None:
        statement = statement.where(spans.c.minute >= minute_of(since))
    if until is not None:
        statement = statement.where(spans.c.minute <= minute_of(until))
    low, high = connection.execute(statement).one()

    def of(columns: Columns) -> ColumnElement[bool]:
        # Always by its index: the order of what is listed is the same, or much the same.
        found: list[ColumnElement[bool]] = [
            tasks.c.touched.between(low if low is not None else 1, high if high is not None else 0)
        ]
        found += [] if since is None else [columns["changed"] >= since]
        found += [] if until is None else [columns["changed"] < until]
        return and_(*found)

    return Condition(of, frozenset({"changed"}))
