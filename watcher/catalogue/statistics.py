"""Numbers: how many tasks there are, and by what. From the tallies where these know it, else from the tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, literal, select

from watcher.catalogue.catalogue import MOST_COUNTS, Counts, Numbers
from watcher.catalogue.conditions import Columns, Condition
from watcher.catalogue.listing import place
from watcher.catalogue.selecting import Question
from watcher.catalogue.tables import tallies, tasks
from watcher.catalogue.timeline import rates
from watcher.core.figures import Count, CountBy
from watcher.core.kinds import KINDS, WAITING_KINDS, kind_of

__all__ = ["counts", "numbers"]

#: What the tallies know of a task.
_TALLIED: Final = frozenset({"state", "lost", "name", "queue", "worker", "error"})


def counts(question: Question, by: Sequence[CountBy]) -> Counts:
    """How many tasks are asked for, by some of their values."""
    at, _ = place(question.connection)
    found: Counter[tuple[str | None, ...]] = Counter()
    for key, count in _groups(question, by):
        found[
            tuple(
                "waiting" if value in WAITING_KINDS and name == "kind" else value
                for name, value in zip(by, key, strict=True)
            )
        ] += count
    listed = [
        Count(count, **dict(zip(by, key, strict=True)))
        for key, count in sorted(found.items(), key=lambda item: (-item[1], [value or "" for value in item[0]]))
        if count and by
    ]
    return Counts(sum(found.values()), listed[:MOST_COUNTS], len(listed) > MOST_COUNTS, at)


def _groups(question: Question, by: Sequence[CountBy]) -> Iterator[tuple[tuple[str | None, ...], int]]:
    """Counts by the values of ``by``; a group may come more than once, also with what is to be taken away again."""
    names = tuple(dict.fromkeys((*(name for name in by if name != "kind"), "state", "lost")))
    if not question.knows(_TALLIED):
        scheduled = case((tasks.c.due > question.now, 1), else_=0)
        for row in _grouped(question, names, scheduled):
            yield _key(by, row), row["count"]
        return
    of = Columns(tallies, for_sqlite=question.for_sqlite)
    group = [of[name].label(name) for name in names]
    statement = select(func.sum(tallies.c.tasks).label("count"), *group).group_by(*group)
    for tallied in map(dict, question.connection.execute(question.of(tallies, statement)).mappings()):
        yield _key(by, tallied), int(tallied["count"])
    if "kind" in by:  # which of those that wait are scheduled depends on what time it is
        for row in _grouped(question.also(_scheduled(question.now)), names, literal(1)):
            yield _key(by, row), row["count"]
            yield _key(by, {**row, "scheduled": 0}), -row["count"]


def _scheduled(now: float) -> Condition:
    """That a task waits for its time."""
    return Condition(lambda columns: columns["due"] > now, frozenset({"due"}), narrow=True)


def _grouped(question: Question, by: Sequence[str], scheduled: ColumnElement[int]) -> list[Mapping[str, Any]]:
    # Else an index of what is grouped by leads to all tasks, in order of that.
    idle = Columns(tasks, for_sqlite=question.for_sqlite, idle=True)
    statement, _ = question.tasks((*(idle[name].label(name) for name in by), scheduled.label("scheduled")))
    group = list(statement.subquery().c)
    counted = question.connection.execute(select(func.count().label("count"), *group).group_by(*group))
    return [dict(row) for row in counted.mappings()]


def _key(by: Sequence[CountBy], row: Mapping[str, Any]) -> tuple[str | None, ...]:
    return tuple(_kind(row) if name == "kind" else row[name] for name in by)


def _kind(row: Mapping[str, Any]) -> str:
    kind = kind_of(row["state"], "worker_lost" if row["lost"] else None)
    if kind != "waiting":
        return kind
    return "retrying" if row["state"] == "RETRY" else "scheduled" if row.get("scheduled") else "queued"


def numbers(question: Question) -> Numbers:
    """What there is of all tasks, and what happened in the last minute."""
    states, kinds = Counter[str](), Counter[str](dict.fromkeys((*KINDS, *WAITING_KINDS), 0))
    for (state, kind), count in _groups(question, ("state", "kind")):
        states[state or ""] += count
        kinds[kind or ""] += count
    kinds["waiting"] = sum(kinds[kind] for kind in WAITING_KINDS)
    states = Counter({state: count for state, count in states.items() if count})
    return Numbers(dict(states), dict(kinds), states.total(), rates(question))
