"""Lists: the tasks that a filter wants and a grant lets see, page by page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw
from sqlalchemy import Connection, Select, and_, or_, select

from watcher.catalogue.catalogue import Listed, Page, Position, Reach
from watcher.catalogue.conditions import Columns
from watcher.catalogue.rows import text_of
from watcher.catalogue.selecting import Question
from watcher.catalogue.tables import details, gaps, state, tasks
from watcher.core.event import Task
from watcher.core.figures import Gap
from watcher.core.permissions import Grant

__all__ = ["one", "page", "place", "position", "reach", "several", "unfinished"]

#: Tasks that are looked up at a time: their details have up to 60 KiB each.
_AT_ONCE: Final = 100
#: Greatest number that a database keeps.
_MOST: Final = 2**63 - 1
_COLUMNS: Final = {"sent": "sent", "runtime": "runtime", "waited": "waited"}
_decode = msgspec.json.Decoder(Task).decode
_encode = msgspec.json.Encoder().encode


def place(connection: Connection) -> tuple[Position, int]:
    """Where the catalogue stands, and the base of its epoch."""
    epoch, offset, base = connection.execute(select(state.c.epoch, state.c.position, state.c.base)).one()
    return Position(epoch, offset), base


def position(connection: Connection) -> Position:
    """Where the catalogue stands."""
    return place(connection)[0]


def page(question: Question, wanted: Listed) -> Page:
    """The tasks that are wanted.

    :raises ValueError: ``before`` is not what a page said.
    """
    at, base = place(question.connection)
    value = tasks.c[_COLUMNS.get(wanted.sort, "touched")]
    statement, columns = question.tasks((tasks.c.key, tasks.c.touched, value), wanted.limit)
    statement = _ordered(statement, wanted, columns).limit(wanted.limit + 1)
    found = question.connection.execute(statement).all()
    told: list[Raw] = []
    left = wanted.size
    for task in _shown(question.connection, found[: wanted.limit], base):
        left -= len(task)
        if told and left < 0:
            break
        told.append(task)
    return Page(told, _next(wanted, found[len(told) - 1]) if len(told) < len(found) else None, at)


def _shown(connection: Connection, found: Sequence[Any], base: int) -> Iterator[Raw]:
    """What is shown of the tasks that were found, some looked up at a time: not all of them may be wanted."""
    for start in range(0, len(found), _AT_ONCE):
        piece = found[start : start + _AT_ONCE]
        shown = _details(connection, [key for key, _, _ in piece])
        yield from (_told(shown[key], touched, base) for key, touched, _ in piece)


def _details(connection: Connection, keys: Sequence[int]) -> dict[int, bytes]:
    """What is shown of tasks, by key: looked up by itself, for the others that were passed over would be read, too."""
    rows = connection.execute(select(details.c.key, details.c.task).where(details.c.key.in_(keys)))
    return {key: bytes(task) for key, task in rows}


def _ordered(statement: Select[Any], wanted: Listed, columns: Columns) -> Select[Any]:
    touched = columns["touched"]
    if wanted.sort == "when":
        if wanted.before is not None:
            statement = statement.where(touched < _whole(wanted.before))
        return statement.order_by(touched.desc())
    column = columns[_COLUMNS[wanted.sort]]
    statement = statement.where(column.is_not(None))
    if wanted.before is not None:
        value, last = _split(wanted.before)
        statement = statement.where(or_(column < value, and_(column == value, tasks.c.key < last)), column <= value)
    return statement.order_by(column.desc(), tasks.c.key.desc())


def _next(wanted: Listed, last: Any) -> int | str:
    key, touched, value = last
    return int(touched) if wanted.sort == "when" else f"{value!r}~{key}"


def _whole(before: int | str) -> int:
    try:
        value = int(before)
    except ValueError:
        value = -1
    if not 0 <= value <= _MOST:
        raise ValueError(f"before={before!r}: `next` of the page before is accepted")
    return value


def _split(before: int | str) -> tuple[float, int]:
    found = re.fullmatch(r"([0-9.e+-]{1,30})~([0-9]{1,19})", str(before))
    try:
        value = float(found[1]) if found else math.nan
    except ValueError:
        value = math.nan
    if found is None or not math.isfinite(value) or int(found[2]) > _MOST:
        raise ValueError(f"before={before!r}: `next` of the page before is accepted")
    return value, int(found[2])


def _told(task: bytes, touched: int, base: int) -> Raw:
    if touched > base:
        return Raw(task)
    # Of a journal that is gone: its offset would say something in this one, and wrongly.
    return Raw(_encode(msgspec.structs.replace(_decode(task), offset=0)))


def one(connection: Connection, task_id: str, grant: Grant) -> Raw | None:
    """One task; None where there is none, or where it may not be seen."""
    _, base = place(connection)
    statement = select(tasks.c.touched, details.c.task).join_from(tasks, details, details.c.key == tasks.c.key)
    found = connection.execute(statement.where(tasks.c.id == text_of(task_id))).one_or_none()
    if found is None or not grant.may_see(_decode(found[1]).channels()):
        return None
    return _told(found[1], found[0], base)


def several(connection: Connection, task_ids: Sequence[str]) -> list[Raw | None]:
    """Some tasks, in order; None for one that there isn't. Whether they may be seen is not looked at."""
    _, base = place(connection)
    statement = select(tasks.c.id, tasks.c.touched, details.c.task)
    statement = statement.join_from(tasks, details, details.c.key == tasks.c.key)
    wanted = [text_of(task_id) for task_id in task_ids]
    rows = connection.execute(statement.where(tasks.c.id.in_(set(wanted))))
    found = {identity: _told(task, touched, base) for identity, touched, task in rows}
    return [found.get(identity) for identity in wanted]


def unfinished(connection: Connection, after: str, limit: int) -> list[str]:
    """Ids of unfinished tasks, ascending."""
    statement = select(tasks.c.id).where(tasks.c.final == 0, tasks.c.id > after).order_by(tasks.c.id).limit(limit)
    return list(connection.execute(statement).scalars())


def reach(connection: Connection) -> Reach:
    """How far back the catalogue is whole, and what is missing since."""
    since = connection.execute(select(state.c.since)).scalar()
    found = connection.execute(select(gaps.c.since, gaps.c.until, gaps.c.events).order_by(gaps.c.at))
    return Reach(since, [Gap(*each) for each in found])
