"""What is asked of the database, and which way it goes to the tasks that are wanted.

It is told, since what it knows of the tables is no guide: a rare value is looked for by its index, and what was found
is sorted; of a frequent one enough is found along the order that is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import ColumnElement, Connection, Select, Table, func, select

from watcher.catalogue.conditions import Columns, Condition
from watcher.catalogue.tables import tallies, tasks

__all__ = ["Question"]

#: What is rarer than this, at most, is found by its index …
_RARE: Final = 10_000
#: … or more of what is only counted.
_COUNTED: Final = 200_000


class Question(NamedTuple):
    """The tasks that are asked for.

    :param connection: in a transaction, so that all answers are of one moment.
    :param conditions: each of the tasks meets all of them.
    :param now: Unix seconds.
    """

    connection: Connection
    conditions: tuple[Condition, ...]
    now: float
    for_sqlite: bool

    def also(self, condition: Condition) -> Self:
        """Only those that meet one more condition."""
        return self._replace(conditions=(*self.conditions, condition))

    def knows(self, columns: frozenset[str]) -> bool:
        """Whether no more than these columns must be known to tell what is asked for."""
        return all(condition.columns <= columns for condition in self.conditions)

    def of(self, table: Table, statement: Select[Any]) -> Select[Any]:
        """The statement with all conditions, on a rollup."""
        columns = Columns(table, for_sqlite=self.for_sqlite)
        return statement.where(*(condition.of(columns) for condition in self.conditions))

    def tasks(self, columns: Iterable[ColumnElement[Any]], limit: int | None = None) -> tuple[Select[Any], Columns]:
        """These columns of the tasks, and the columns that an order is to be by: found by the best way.

        :param limit: how many are wanted of those that come first; None: all.
        """
        narrow = self._narrowest(_COUNTED if limit is None else self._rare(limit))
        idle = Columns(tasks, for_sqlite=self.for_sqlite, idle=True)
        plain = Columns(tasks, for_sqlite=self.for_sqlite)
        met = (condition.of(plain if condition is narrow else idle) for condition in self.conditions)
        return select(*columns).where(*met), plain if narrow is None else idle

    def _rare(self, limit: int) -> int:
        """How many may be looked up by an index, and sorted, before it takes as long as to find enough in order."""
        every = self.connection.execute(select(func.sum(tallies.c.tasks))).scalar() or 0
        return min(_RARE, math.isqrt(int(every) * limit))

    def _narrowest(self, most: int) -> Condition | None:
        """The condition whose index leads to the fewest tasks; None where each leads to more than ``most``."""
        best, least = None, most + 1
        for condition in self.conditions:
            if condition.narrow:
                found = condition.of(Columns(tasks, for_sqlite=self.for_sqlite))
                some = select(tasks.c.key).where(found).limit(least).subquery()
                count = self.connection.execute(select(func.count()).select_from(some)).scalar() or 0
                if count < least:
                    best, least = condition, count
        return best
