"""What a task's state means to people: which of a few kinds it is of, and how long it has waited and run. Pure.

The page has the same (``web/embed/kind.js``, ``web/model/filter.js``), and a property test holds them together.
"""

from __future__ import annotations

from datetime import UTC
from typing import Final, Literal, TypeAlias

from watcher.core.event import Reason, Task, is_final
from watcher.core.moments import Wall, iso

__all__ = [
    "KINDS",
    "WAITING",
    "WAITING_KINDS",
    "Kind",
    "due_of",
    "kind_of",
    "runtime_of",
    "waited_of",
    "waiting_kind",
]

Kind: TypeAlias = Literal["waiting", "running", "lost", "succeeded", "failed", "other"]
WaitingKind: TypeAlias = Literal["queued", "scheduled", "retrying"]

#: Each task is of one of these.
KINDS: Final[tuple[Kind, ...]] = ("waiting", "running", "lost", "succeeded", "failed", "other")
#: Each waiting task is of one of these, too.
WAITING_KINDS: Final[tuple[WaitingKind, ...]] = ("queued", "scheduled", "retrying")
#: The states of what waits, unless its worker is gone.
WAITING: Final = ("PENDING", "RECEIVED", "RETRY")
_ENDED: Final[dict[str, Kind]] = {"SUCCESS": "succeeded", "FAILURE": "failed"}


def kind_of(state: str, reason: Reason | None = None) -> Kind:
    """The kind of a task or an event; started, in progress and custom states are all ``running``.

    What has not ended and whose worker is gone is ``lost``: nobody works on it, though another worker may still get it.
    """
    if is_final(state):
        return _ENDED.get(state, "other")
    if reason == "worker_lost":
        return "lost"
    return "waiting" if state in WAITING else "running"


def waiting_kind(task: Task, now: float) -> WaitingKind | None:
    """What a waiting task waits for; None if it does not wait.

    ``retrying``: its next try. ``scheduled``: the moment before which it may not start. ``queued``: a free worker.

    :param now: Unix seconds.
    """
    if kind_of(task.state, task.reason) != "waiting":
        return None
    if task.state == "RETRY":
        return "retrying"
    due = due_of(task)
    return "scheduled" if due is not None and due > now else "queued"


def due_of(task: Task) -> float | None:
    """The moment before which the task may not start (its ``eta``) in Unix seconds; None where none is known.

    One without an offset is taken for UTC, as Celery has it unless told otherwise.
    """
    moment = iso(task.eta) if task.eta is not None else None
    if isinstance(moment, Wall):
        moment = moment.at(UTC)
    return None if moment is None else moment / 1e6


def runtime_of(task: Task, now: float) -> float | None:
    """For how long the task's current try has run, in seconds; None where that is unknown.

    What has ended: as its worker measured it, else from its start to its end. What is running: from its start to
    ``now``. What waits or is lost does not run.

    :param now: Unix seconds.
    """
    if task.final and task.runtime is not None:
        return task.runtime
    started = task.times.get("STARTED")
    if started is None:
        return None
    if task.final:
        return max(0.0, task.timestamp - started)
    return max(0.0, now - started) if kind_of(task.state, task.reason) == "running" else None


def waited_of(task: Task, now: float) -> float | None:
    """For how long the task's current try waited for its start, in seconds; None where that is unknown.

    What waits still: to ``now``, from the moment it was sent, or failed its last try (``RETRY``).

    :param now: Unix seconds.
    """
    waits = kind_of(task.state, task.reason) == "waiting"
    if waits and task.state == "RETRY":
        return max(0.0, now - task.timestamp)
    sent = task.times.get("PENDING")
    if sent is None and not task.retries:
        sent = task.sent  # of the first try only: a retry goes on with the life of the task
    started = now if waits else task.times.get("STARTED")
    return None if sent is None or started is None else max(0.0, started - sent)
