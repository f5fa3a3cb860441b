"""Whether a task passes a filter: what of a task each key is about, and each value's test. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Raw, UnsetType

from watcher.core.event import Task
from watcher.core.filters.values import Bound, Glob, Kind, State, Text, Value, folded
from watcher.core.kinds import WAITING_KINDS, kind_of, runtime_of, waited_of, waiting_kind

__all__ = ["SEPARATOR", "call", "error_names", "holds", "parent_of", "root_of", "searched", "worker_names"]

#: Between the parts of the text in which free words are looked for; in no filter, so that none spans two parts.
SEPARATOR: Final = "\x1f"
_LIST: Final = msgspec.json.Decoder(list[Raw])
_DICTIONARY: Final = msgspec.json.Decoder(dict[str, Raw])
_BEGIN: Final = re.compile(r"^[(\[]")
_END: Final = re.compile(r",?[)\]]\Z")


def holds(value: Value, key: str, task: Task, now: float) -> bool:
    """Whether one term holds of a task; the span of ``since`` and ``until`` is the filter's own.

    :param now: Unix seconds.
    """
    match value:
        case Glob():
            return any(value.matches(text) for text in _TEXTS[key](task) if text)
        case State():
            return task.state in value.names
        case Kind():
            return value.name == (
                waiting_kind(task, now) if value.name in WAITING_KINDS else kind_of(task.state, task.reason)
            )
        case Bound():
            seconds = (runtime_of if key == "runtime" else waited_of)(task, now)
            return seconds is not None and value.matches(seconds)
        case Text():
            return value.needle in searched(task)
    raise TypeError(f"{key} is no test of a task by itself")


def root_of(task: Task) -> str:
    """The id of the task that began the workflow: its own, if no other is known."""
    return task.root_id or task.id


def parent_of(task: Task) -> str | None:
    """The id of the task that sent it. What runs again under its own id may be told to be its own: no task is."""
    return None if task.parent_id == task.id else task.parent_id


def worker_names(hostname: str | None) -> tuple[str, ...]:
    """What ``worker:`` is compared with: the worker's name, and what stands after its first ``@``."""
    return _with(hostname, hostname.partition("@")[2] if hostname else "")


def error_names(type_name: str | None) -> tuple[str, ...]:
    """What ``error:`` is compared with: the exception's type, and what stands after its last dot."""
    return _with(type_name, type_name.rpartition(".")[2] if type_name else "")


def _with(name: str | None, part: str) -> tuple[str, ...]:
    if name is None:
        return ()
    return (name, part) if part and part != name else (name,)


def searched(task: Task) -> str:
    """The text in which free words are looked for, folded: what is shown of the task in one line each.

    Id, name with the arguments, tags, the exception's type and its message, with :data:`SEPARATOR` between them.
    """
    error = task.exception
    parts = [task.id, call(task), *(task.tags or ())]
    if error is not None:
        parts += [error.type, error.message]
    return folded(SEPARATOR.join(parts))


def call(task: Task) -> str:
    """The task's name with its arguments as they are shown: JSON where all of it is known, else their reprs."""
    name = task.name or ""
    if not isinstance(task.args, UnsetType) and not isinstance(task.kwargs, UnsetType):
        try:
            values, named = _LIST.decode(task.args), _DICTIONARY.decode(task.kwargs)
        except msgspec.MsgspecError:
            pass  # another's events may hold anything
        else:
            parts = [*map(_plain, values), *(f"{key}={_plain(value)}" for key, value in named.items())]
            return f"{name}({', '.join(parts)})"
    if task.argsrepr is None and task.kwargsrepr is None:
        return name
    parts = [_END.sub("", _BEGIN.sub("", task.argsrepr or "", 1), 1)]
    if task.kwargsrepr and task.kwargsrepr != "{}":
        parts.append(f"**{task.kwargsrepr}")
    return f"{name}({', '.join(filter(None, parts))})"


def _plain(value: Raw) -> str:
    return bytes(value).decode()


def _maybe(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


_TEXTS: Final[dict[str, Callable[[Task], Iterable[str]]]] = {
    "id": lambda task: (task.id,),
    "name": lambda task: _maybe(task.name),
    "queue": lambda task: _maybe(task.queue),
    "worker": lambda task: worker_names(task.hostname),
    "tag": lambda task: task.tags or (),
    "error": lambda task: error_names(task.exception.type if task.exception else None),
    "root": lambda task: (root_of(task),),
    "parent": lambda task: _maybe(parent_of(task)),
    "group": lambda task: _maybe(task.group_id),
}
