"""The events and snapshots that a client gets of tasks. Pure."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from watcher.client.errors import ResultUnavailable, TaskFailed, TaskRejected, TaskRevoked
from watcher.core.event import is_final

__all__ = ["Snapshot", "TaskEvent", "place", "standing", "value_of"]


class _Told:
    """JSON text about a task, read when somebody looks inside."""

    line: bytes

    @cached_property
    def data(self) -> dict[str, Any]:
        """All its fields, as docs/protocol.md lists them."""
        return dict(json.loads(self.line))

    @property
    def id(self) -> str:
        """The task's id."""
        return str(self.data["id"])

    @property
    def state(self) -> str:
        """Celery's name of the state, or a custom one."""
        return str(self.data["state"])

    @property
    def name(self) -> str | None:
        """The task's registered name, where it is known."""
        return self.data.get("name")

    @property
    def timestamp(self) -> float:
        """When it became so, in Unix seconds, by the clock of the process where it happened."""
        return float(self.data["timestamp"])

    @property
    def meta(self) -> Any:
        """What the task reported by ``update_state(meta=…)``, or None."""
        return self.data.get("meta")

    @property
    def result(self) -> Any:
        """What the task returned; None also where that didn't come along, see :meth:`watcher.client.Task.result`."""
        return self.data.get("result")

    @property
    def exception(self) -> dict[str, Any] | None:
        """What the task raised, ``{"type", "message", "traceback"}``, or None."""
        return self.data.get("exception")

    @property
    def reason(self) -> str | None:
        """What explains the state: ``expired``, ``terminated``, ``not_sent``, …; or None."""
        return self.data.get("reason")


class TaskEvent(_Told):
    """One change of one task's state, as it came.

    ``line`` is its JSON as the worker made it, byte for byte; ``channel`` is the one that it came by, and
    ``(epoch, offset)`` its place in the journal. Offset 0: no event told of it, only the result backend.
    """

    def __init__(self, channel: str, epoch: str, offset: int, line: bytes) -> None:
        self.channel = channel
        self.epoch = epoch
        self.offset = offset
        self.line = line

    def __repr__(self) -> str:
        return f"<TaskEvent {self.state} {self.id} {self.epoch}:{self.offset}>"

    @property
    def ends(self) -> bool:
        """Whether it ends its task: a final state that nothing had superseded when it arrived."""
        return is_final(self.state) and not self.data.get("late", False)


class Snapshot(_Told):
    """What is known of a task: each field's current value."""

    def __init__(self, line: bytes) -> None:
        self.line = line

    def __repr__(self) -> str:
        return f"<Snapshot {self.state} {self.id}>"

    @property
    def final(self) -> bool:
        """Whether the task has ended."""
        return bool(self.data["final"])

    @property
    def times(self) -> dict[str, float]:
        """State → when the current run entered it, in Unix seconds."""
        return dict(self.data["times"])

    @property
    def offset(self) -> int:
        """Place of its last event in the journal; 0 where only the result backend knows it."""
        return int(self.data["offset"])

    @property
    def ends(self) -> bool:
        """The same as :attr:`final`."""
        return self.final


def standing(
    state: str | None, queue: str | None = None, hostname: str | None = None, reason: str | None = None
) -> str:
    """Where a task is that has not ended, for a person; ``state`` None: nothing is known of it."""
    if state is None:
        return "its state is unknown"
    return f"it is {place(state, queue, hostname, reason)}"


def place(state: str | None, queue: str | None, hostname: str | None, reason: str | None) -> str:
    """The state of tasks that have not ended, and where they are, for a person."""
    where = f" on {hostname}{', which is gone' if reason == 'worker_lost' else ''}" if hostname else ""
    return f"{state}{where}{f', queue {queue!r}' if queue else ''}"


def value_of(record: TaskEvent | Snapshot) -> Any:
    """What a task that has ended so returned; None of one that was ignored.

    :raises TaskFailed: it failed, or (TaskRejected) was rejected.
    :raises TaskRevoked: it was revoked.
    :raises ResultUnavailable: it succeeded, and its value didn't come along.
    """
    data, identity, name, reason = record.data, record.id, record.name, record.reason
    raised = record.exception or {}
    if record.state == "REVOKED":
        raise TaskRevoked(identity, name, reason)
    if record.state == "REJECTED":
        raise TaskRejected(identity, name, "Rejected", str(raised.get("message", reason or "")), None, reason)
    if record.state == "FAILURE":
        what = (str(raised.get("type", "")) or "Exception", str(raised.get("message", "")), raised.get("traceback"))
        raise TaskFailed(identity, name, *what, reason)
    if record.state == "IGNORED":
        return None
    if data.get("result_repr"):
        raise ResultUnavailable(identity, name, text=str(data.get("result")))
    if "result" not in data:
        raise ResultUnavailable(identity, name, size=data.get("result_size"))
    return data["result"]
