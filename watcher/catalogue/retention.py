"""What is too old is forgotten, a few tasks at a time, so that nobody waits long for it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import case, delete, func, select, update

from watcher.catalogue.database import Database
from watcher.catalogue.rollups import Deltas
from watcher.catalogue.rows import minute_of
from watcher.catalogue.tables import details, durations, gaps, minutes, spans, state, tags, tallies, tasks
from watcher.catalogue.writer import Writer, known_by

__all__ = ["forget"]

#: Rollups have few rows: those that count nothing any more are looked for only where a batch was not full.
_ROLLUPS: Final = ((tallies, (tallies.c.tasks,)), (durations, (durations.c.tasks,)))


def forget(database: Database, writer: Writer, older_than: float, limit: int) -> int:
    """Forget finished tasks whose newest event is older than a moment (Unix seconds), and what counts them.

    :returns: how many; fewer than ``limit``: there are no more.
    :raises Away: the database doesn't answer. Fenced: somebody else writes there.
    """
    with database.writing() as connection:
        writer.confirm(connection)
        highest = connection.execute(
            select(func.max(spans.c.high)).where(spans.c.minute <= minute_of(older_than))
        ).scalar()
        if highest is None:
            return 0
        old = select(tasks.c.key).where(tasks.c.touched <= highest, tasks.c.final == 1, tasks.c.changed < older_than)
        keys = list(connection.execute(old.order_by(tasks.c.touched).limit(limit)).scalars())
        if keys:
            deltas = Deltas()
            for known in known_by(connection, tasks.c.key.in_(keys)).values():
                deltas.change(known.row, None)
            writer.count(connection, deltas)
            for table in (tasks, details, tags):
                connection.execute(delete(table).where(table.c.key.in_(keys)))
        if len(keys) < limit:
            for table, (count,) in _ROLLUPS:
                connection.execute(delete(table).where(count == 0))
            of = minutes.c
            nothing = (of.minute < minute_of(older_than), of.sent == 0, of.changed == 0)
            connection.execute(delete(minutes).where(*nothing))
            connection.execute(delete(gaps).where(gaps.c.until < older_than))
        if keys:
            since = func.coalesce(state.c.since, older_than)
            connection.execute(update(state).values(since=case((since > older_than, since), else_=older_than)))
        return len(keys)
