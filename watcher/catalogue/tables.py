"""The tables, and the version of their form.

``tasks`` has what is searched, ``details`` what is shown: most questions read the first only, which is small. A task's
``key`` is the place of its first event and never changes; ``touched`` is that of its newest one. Both count on over all
epochs: no two events share one.

The rollups hold no more than sums over ``tasks``, changed in the same transaction: ``tallies`` over all of them,
``minutes`` by the minute in which something happened, ``durations`` how long what ended then had taken (by classes of
:mod:`.durations`). What ``minutes`` has as ``seen`` and ``longest_…`` is of all that ever was there. ``spans`` says
between which values of ``touched`` the tasks of a minute lie, so that a question for a span of time reads no others.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    text,
)

from watcher.catalogue.texts import StoredText

__all__ = [
    "VERSION",
    "details",
    "durations",
    "gaps",
    "metadata",
    "minutes",
    "spans",
    "state",
    "tags",
    "tallies",
    "tasks",
]

#: Of the form of these tables. A change of them raises it, and tells :mod:`.database` how to get there.
VERSION: Final = 1

# By code points, as SQLite compares and Python: whose language a server speaks must not matter.
_TEXT: Final = StoredText().with_variant(StoredText(collation="C"), "postgresql")
# SQLite takes a key for its own number of the row only if it is called so.
_KEY: Final = BigInteger().with_variant(Integer(), "sqlite")
_SMALL: Final = SmallInteger()
_BIG: Final = BigInteger()
_FLOAT: Final[Double[float]] = Double()

metadata: Final = MetaData()


def _is(name: str, kind: Any = _TEXT) -> Column[Any]:
    return Column(name, kind, nullable=False)


def _may(name: str, kind: Any = _TEXT) -> Column[Any]:
    return Column(name, kind, nullable=True)


def _rollup(name: str, by: tuple[Column[Any], ...], *values: Column[Any]) -> Table:
    """What there is of each of ``by``."""
    key = PrimaryKeyConstraint(*(column.name for column in by))
    return Table(name, metadata, *by, *values, key, sqlite_with_rowid=False)


#: One row: the version of the form, where the catalogue stands, and since when it is whole (null: always).
#: ``base``: what an offset of this epoch is to be added to.
state: Final = Table(
    "watcher_catalogue",
    metadata,
    Column("id", _SMALL, primary_key=True, autoincrement=False),
    _is("version", _SMALL), _is("namespace"), _is("epoch"), _is("position", _BIG), _is("base", _BIG),
    _may("since", _FLOAT),
)  # fmt: skip

gaps: Final = Table(
    "watcher_gaps",
    metadata,
    Column("at", _KEY, primary_key=True, autoincrement=False),  # as `touched`
    _is("since", _FLOAT), _is("until", _FLOAT), _may("events", _BIG),
)  # fmt: skip

tasks: Final = Table(
    "watcher_tasks",
    metadata,
    Column("key", _KEY, primary_key=True, autoincrement=False),
    _is("id"), _is("touched", _BIG), _is("changed", _FLOAT),
    _is("state"), _is("lost", _SMALL), _is("final", _SMALL),
    _may("name"), _may("queue"), _may("worker"), _may("error"), _may("root"), _may("parent"), _may("batch"),
    _may("sent", _FLOAT), _may("due", _FLOAT), _may("waiting_since", _FLOAT), _may("running_since", _FLOAT),
    _may("waited", _FLOAT), _may("runtime", _FLOAT),
    _may("waited_class", _SMALL), _may("runtime_class", _SMALL),
    _is("words"),
)  # fmt: skip

details: Final = Table(
    "watcher_details", metadata, Column("key", _KEY, primary_key=True, autoincrement=False), _is("task", LargeBinary())
)

tags: Final = Table(
    "watcher_tags", metadata, _is("tag"), _is("key", _KEY), PrimaryKeyConstraint("tag", "key"), sqlite_with_rowid=False
)
Index("watcher_tags_of", tags.c.key)

Index("watcher_tasks_id", tasks.c.id, unique=True)
Index("watcher_tasks_touched", tasks.c.touched)
Index("watcher_tasks_state", tasks.c.state)
for _name in (
    "name", "queue", "worker", "error", "root", "parent", "batch", "sent", "due", "waiting_since", "running_since",
    "waited", "runtime",
):  # fmt: skip
    # Most tasks have no error, no parent and no group: what lacks a value costs nothing then.
    _known = text(f"{_name} IS NOT NULL")
    Index(f"watcher_tasks_{_name}", tasks.c[_name], sqlite_where=_known, postgresql_where=_known)

# A rollup's text is never null, since a key may not be: what a task lacks is the empty text there.
_OF: Final = ("name", "queue", "worker", "error")
_TALLIED: Final = (_is("state"), _is("lost", _SMALL), *map(_is, _OF))
tallies: Final = _rollup("watcher_tallies", _TALLIED, _is("tasks", _BIG))
minutes: Final = _rollup(
    "watcher_minutes",
    (_is("minute", _BIG), _is("name")),
    *(_is(each, _BIG) for each in ("sent", "changed", "succeeded", "failed", "other")),
    *(_is(each, _FLOAT) for each in ("seen", "longest_run", "longest_wait")),
)
durations: Final = _rollup(
    "watcher_durations",
    (_is("minute", _BIG), _is("name"), _is("what", _SMALL), _is("class", _SMALL)),
    _is("tasks", _BIG),
)
spans: Final = _rollup("watcher_spans", (_is("minute", _BIG),), _is("low", _BIG), _is("high", _BIG))
