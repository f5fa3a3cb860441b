"""From a task to its row, and what that counts for in the rollups. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from watcher.catalogue.durations import class_of
from watcher.catalogue.texts import storable
from watcher.core.event import Task
from watcher.core.filters.matching import searched
from watcher.core.kinds import due_of, kind_of, runtime_of, waited_of

__all__ = ["RUNTIME", "WAITED", "Row", "minute_of", "row_of", "text_of"]

#: In ``durations.what``.
RUNTIME: Final = 0
WAITED: Final = 1


class Row(NamedTuple):
    """The columns of ``tasks``, in their order; texts as the database has them.

    ``sent``, ``due`` (not before then) and ``…_since``: moments, Unix seconds; what waits or runs still has the latter
    instead of a duration.
    """

    key: int
    id: str
    touched: int
    changed: float
    state: str
    lost: int
    final: int
    name: str | None
    queue: str | None
    worker: str | None
    error: str | None
    root: str | None
    parent: str | None
    batch: str | None
    sent: float | None
    due: float | None
    waiting_since: float | None
    running_since: float | None
    waited: float | None
    runtime: float | None
    waited_class: int | None
    runtime_class: int | None
    words: str

    def rests(self, before: Row) -> bool:
        """Whether it differs from the row before in nothing but when it was touched."""
        return self[4:] == before[4:]

    def tally(self) -> tuple[str, int, str, str, str, str]:
        """What it is counted by."""
        return self.state, self.lost, self.name or "", self.queue or "", self.worker or "", self.error or ""


def minute_of(moment: float) -> int:
    """The minute of a moment, Unix."""
    return int(moment // 60)


def text_of(text: str | None) -> str | None:
    """A text as it is compared in a statement, where :mod:`.texts` writes it. The empty one is none."""
    return text or None


def _written(text: str | None) -> str | None:
    return storable(text) if text else None


def row_of(task: Task, key: int, touched: int) -> Row:
    """The row of a task; see :mod:`.tables` for ``key`` and ``touched``."""
    times, state = task.times, task.state
    kind = kind_of(state, task.reason)
    waits = kind == "waiting"
    waited = None if waits else waited_of(task, 0.0)
    runtime = runtime_of(task, 0.0) if task.final else None
    sent = times.get("PENDING")
    waiting_since = None
    if waits:
        waiting_since = task.timestamp if state == "RETRY" else task.sent if sent is None and not task.retries else sent
    return Row(
        key,
        _written(task.id) or "",
        touched,
        task.timestamp,
        _written(state) or "",
        int(kind == "lost"),
        int(task.final),
        _written(task.name),
        _written(task.queue),
        _written(task.hostname),
        None if task.exception is None else _written(task.exception.type),
        _written(task.root_id),
        None if task.parent_id == task.id else _written(task.parent_id),
        _written(task.group_id),
        _sent(task),
        due_of(task) if waits and state != "RETRY" and task.eta is not None else None,
        waiting_since,
        times.get("STARTED") if kind == "running" else None,
        waited,
        runtime,
        None if waited is None else class_of(waited),
        None if runtime is None else class_of(runtime),
        storable(searched(task)),
    )


def _sent(task: Task) -> float:
    """When it was sent, or else when it was first heard of: sorted by that, no task is left out."""
    if task.sent is not None:
        return task.sent
    return task.times.get("PENDING") or min(task.times.values())
