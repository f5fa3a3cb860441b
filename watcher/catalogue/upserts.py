"""Statements that write many rows at once, as the database's driver takes them.

SQLite's driver lets go of the interpreter for each step of a statement, and has to wait for it again while the event
loop is busy: with a row a statement most of the time would go there. So a statement has up to some dozens of rows. Its
text comes from SQLAlchemy; it goes to the driver as it is, since building it anew takes longer than running it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, Table, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg

__all__ = ["Merge", "Upsert", "each"]

#: What becomes of a column where the row is there already.
Merge: TypeAlias = Literal["set", "add", "most", "least"]

#: Rows of one statement: a few sizes, so that the driver knows each statement already.
_SIZES: Final = (64, 8, 1)


def each(names: Sequence[str], merge: Merge) -> dict[str, Merge]:
    """The same for all these columns."""
    return dict.fromkeys(names, merge)


class Upsert:
    """Writes whole rows of a table.

    :param merged: what becomes of a column where a row with the same key is there; those that aren't named stay.
    """

    def __init__(self, table: Table, merged: Mapping[str, Merge], *, for_sqlite: bool) -> None:
        statement: Any = (sqlite.insert if for_sqlite else postgresql.insert)(table)
        key = [column.name for column in table.primary_key]
        if merged:
            changes = {
                name: _change(table, statement.excluded, name, how, for_sqlite=for_sqlite)
                for name, how in merged.items()
            }
            statement = statement.on_conflict_do_update(index_elements=key, set_=changes)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=key)
        dialect: Any = sqlite.dialect() if for_sqlite else psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]
        text = str(statement.compile(dialect=dialect))
        start = text.index("VALUES (") + len("VALUES ")
        end = text.index(")", start) + 1
        row = text[start:end]
        self._texts = {size: text[:start] + ", ".join([row] * size) + text[end:] for size in _SIZES}

    def __call__(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Write them, each with all columns in their order; no two may have the same key."""
        start = 0
        for size in _SIZES:
            text = self._texts[size]
            while len(rows) - start >= size:
                connection.exec_driver_sql(text, tuple(chain.from_iterable(rows[start : start + size])))
                start += size


def _change(table: Table, excluded: Any, name: str, merge: Merge, *, for_sqlite: bool) -> Any:
    old, new = table.c[name], excluded[name]
    if merge == "set":
        return new
    if merge == "add":
        return old + new
    largest, smallest = (func.max, func.min) if for_sqlite else (func.greatest, func.least)
    return (largest if merge == "most" else smallest)(old, new)
