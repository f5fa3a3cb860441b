"""Tasks for people: a row of each in a table, and all that is known of one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from watcher.cli.terminal.columns import Column, cut
from watcher.cli.terminal.rendering import painted, plain
from watcher.client import Snapshot
from watcher.core.event import Task
from watcher.core.kinds import kind_of, runtime_of, waited_of
from watcher.core.moments import iso

__all__ = ["age", "columns", "described", "duration", "row", "task_of"]

_WAITED: Final = Column("WAITED", right=True)
#: Columns of the list. Where a terminal is too narrow, the id stays whole: it is there to be copied.
_COLUMNS: Final = (
    Column("AGE", right=True),
    Column("STATE", least=8, paint=painted),
    Column("NAME", least=10, by_end=True),
    Column("ID"),
    Column("WORKER", least=12, leaves=1),
    Column("RUNTIME", leaves=2, right=True),
    Column("ERROR", least=12, leaves=3),
)
#: Longest error in a row, in characters.
_ERROR: Final = 200
_decoder = msgspec.json.Decoder(Task)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def task_of(told: Snapshot) -> Task:
    """The task that a relay told of.

    :raises ValueError: it told of something else.
    """
    try:
        return _decoder.decode(told.line)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the relay's answer is no task: {error}") from None


def columns(sort: str) -> Sequence[Column]:
    """Columns of the list.

    :param sort: what it is sorted by: that is among them.
    """
    return (_COLUMNS[0], _WAITED, *_COLUMNS[1:]) if sort == "waited" else _COLUMNS


def row(task: Task, now: float, sort: str) -> list[str]:
    """A task's cells, as :func:`columns` has them.

    :param now: Unix seconds.
    :param sort: what the list is sorted by; its age is since it was sent where that is ``sent``.
    """
    since = _sent(task) if sort == "sent" else task.timestamp
    waited = (_length(waited_of(task, now)),) if sort == "waited" else ()
    texts = (task.state, task.name or "", task.id, task.hostname or "")
    return [
        "" if since is None else age(now - since), *waited, *map(plain, texts), _length(runtime_of(task, now)),
        cut(plain(_error(task)), _ERROR),
    ]  # fmt: skip


def duration(seconds: float) -> str:
    """How long it took: 0.4ms, 12ms, 3.24s, 2m05s, 3h10m, 2d4h."""
    if seconds < 1:
        return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f}ms"
    if seconds < _MINUTE:
        return f"{seconds:.{2 if seconds < 10 else 1}f}s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR}h"


def age(seconds: float) -> str:
    """How long ago it was, in one unit: 5s, 3m, 2h, 4d. Another machine's clock may be ahead of this one's."""
    whole = max(0, int(seconds))
    for unit, length in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if whole >= 2 * length:
            return f"{whole // length}{unit}"
    return f"{whole}s"


def described(task: Task, now: float, *, local: bool) -> Iterator[str]:
    """All that is known of a task, in lines.

    :param now: Unix seconds.
    :param local: whether moments are in the local time zone, for a person who looks; else in UTC.
    """
    facts = [(name, text) for name, text in _facts(task, now, local=local) if text]
    longest = max(len(name) for name, _ in facts)
    for name, text in facts:
        yield f"{name:<{longest}}  {painted(task.state, plain(text)) if name == 'State' else plain(text)}"
    yield from _block("Times", _times(task, local=local))
    if task.exception is not None and task.exception.traceback:
        yield from _block("Traceback", task.exception.traceback.rstrip().splitlines())
    elif (outcome := _outcome(task)) is not None:
        yield from _block("Result" if task.final else "Progress", outcome.splitlines() or [""])


def _facts(task: Task, now: float, *, local: bool) -> Iterator[tuple[str, str]]:
    ran = _length(runtime_of(task, now))
    gone = kind_of(task.state, task.reason) == "lost"
    yield "State", task.state
    yield "Since", f"{_moment(task.timestamp, local=local)} ({age(now - task.timestamp)} ago)"
    yield "Reason", (task.reason or "").replace("_", " ")
    yield "Error", _raised(task)
    yield "Name", task.name or ""
    yield "Id", task.id
    yield "Arguments", _arguments(task)
    yield "Queue", task.queue or ""
    yield "Worker", f"{task.hostname}{', which is gone' if gone else ''}" if task.hostname else ""
    yield "Retries", str(task.retries or "")
    yield "Not before", "" if task.final else _readable(task.eta, local=local)
    yield "Expires", _readable(task.expires, local=local)
    yield "Tags", " ".join(task.tags or ())
    yield "Root", task.root_id or "" if task.root_id != task.id else ""
    yield "Parent", task.parent_id or ""
    yield "Group", task.group_id or ""
    yield "Waited", _length(waited_of(task, now))
    yield "Runtime", f"{ran}{'' if task.final else ' so far'}" if ran else ""
    yield "Known by", "the result backend only" if task.offset == 0 else ""


def _length(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _error(task: Task) -> str:
    """What went wrong: the exception, else the reason."""
    return _raised(task) or task.reason or ""


def _raised(task: Task) -> str:
    raised = task.exception
    return "" if raised is None else f"{raised.type}: {raised.message}" if raised.message else raised.type


def _arguments(task: Task) -> str:
    """As they were given: ``(2, 3)``, ``(2,) {'x': 3}``; nothing where they are not known."""
    given = ((task.argsrepr, task.args), (task.kwargsrepr, task.kwargs))
    parts = [text or _text(value) for text, value in given]
    return " ".join(part for part in parts if part and part != "{}")


def _outcome(task: Task) -> str | None:
    """What it returned, or has reported last; None where there is nothing of that."""
    if task.result_size is not None:
        return f"(its {task.result_size} bytes are too large for an event: GET /api/tasks/ID/result has them)"
    if task.result is not UNSET:
        value = json.loads(bytes(task.result))
        return str(value) if task.result_repr else _json(value)
    if task.final or task.meta is UNSET:
        return None
    return _json(json.loads(bytes(task.meta)))


def _text(value: Raw | UnsetType) -> str:
    return "" if value is UNSET else bytes(value).decode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _times(task: Task, *, local: bool) -> list[str]:
    """When the current run entered each state, and how long after the one before."""
    lines, before = [], None
    entered = [(plain(state), moment) for state, moment in sorted(task.times.items(), key=lambda pair: pair[1])]
    longest = max((len(state) for state, _ in entered), default=0)
    for state, moment in entered:
        later = "" if before is None else f"  +{duration(moment - before)}"
        lines.append(f"{state:<{longest}}  {_moment(moment, local=local)}{later}")
        before = moment
    return lines


def _block(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        for line in lines:
            yield f"  {plain(line)}"


def _sent(task: Task) -> float | None:
    return task.times.get("PENDING") if task.sent is None else task.sent


def _moment(seconds: float, *, local: bool) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    if local:
        return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _readable(text: str | None, *, local: bool) -> str:
    """A moment in ISO 8601 as the others are; as it came where it says no time zone."""
    moment = iso(text) if text is not None else None
    return _moment(moment / 1e6, local=local) if isinstance(moment, int) else text or ""
