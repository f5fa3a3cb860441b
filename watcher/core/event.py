"""An event, one change of one task's state: its fields, its JSON, its channels, and the fold of events to a task.

This module is the project's vocabulary and does no I/O. An :class:`Event` is made once, in the process where the change
happened, encoded there to one line of JSON, and travels as those bytes. Whoever needs more than the bytes decodes the
event (in under a microsecond, leaving values alone) and folds events to a :class:`Task`.

The journal's script decides once which event is a task's state, by the rules of :mod:`watcher.core.order`. It marks the
others ``late``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from watcher.core.order import RANKS

__all__ = [
    "CHANNEL_LIMIT",
    "FINAL_STATES",
    "OVERVIEW",
    "REPR_LIMIT",
    "TRACEBACK_LIMIT",
    "Event",
    "ExceptionInfo",
    "InvalidEvent",
    "Reason",
    "Reserved",
    "Task",
    "decode",
    "encode",
    "fold",
    "is_final",
    "task_of",
    "weight",
]

#: Longest name of a channel that can be watched, in characters, as in Centrifugo.
CHANNEL_LIMIT: Final = 255
#: The channel of numbers about all tasks. It carries no events.
OVERVIEW: Final = "overview"
#: Longest text that stands for a value (argsrepr, result repr, exception message), in characters.
REPR_LIMIT: Final = 1024
#: Longest traceback, in characters; its end is kept, which names the error.
TRACEBACK_LIMIT: Final = 16384

Reason: TypeAlias = Literal[
    "expired",
    "revoked",
    "terminated",
    "worker_lost",
    "time_limit",
    "not_sent",
    "backend_lost",
    "undecodable",
    "invalid",
]

FINAL_STATES: Final = frozenset(state for state, value in RANKS.items() if value > RANKS["RETRY"])


# What can be a moment (Unix seconds up to the year 9999), a duration, a count of tries, a size in bytes. Whoever reads
# an event, in whatever language, has numbers and a calendar that can hold it.
_Moment = Annotated[float, msgspec.Meta(ge=0, lt=253_402_300_800)]
_Duration = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
_Tries = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_Size = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
_Run = Annotated[str, msgspec.Meta(max_length=64)]


class InvalidEvent(ValueError):
    """The bytes are not one line of JSON with the fields of an event."""


class ExceptionInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception that a task raised. ``traceback`` is absent if Celery has none, as for a lost worker."""

    type: str
    message: str
    traceback: str | None = None


class _Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that an event and a task share; docs/protocol.md gives the meaning of each.

    ``args``, ``kwargs``, ``result`` and ``meta`` hold JSON text as it will be sent, because only the process that made
    the value must look inside. They are ``UNSET`` if absent, since ``null`` is a value.
    """

    id: str
    state: str
    timestamp: _Moment
    source: Literal["signal", "backend"]
    name: str | None = None
    hostname: str | None = None
    queue: str | None = None
    retries: _Tries | None = None
    sent: _Moment | None = None
    run: _Run | None = None
    redelivered: _Tries | None = None
    eta: str | None = None
    expires: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    args: Raw | UnsetType = UNSET
    kwargs: Raw | UnsetType = UNSET
    tags: tuple[str, ...] | None = None
    runtime: _Duration | None = None
    result: Raw | UnsetType = UNSET
    result_repr: bool = False
    result_size: _Size | None = None
    exception: ExceptionInfo | None = None
    meta: Raw | UnsetType = UNSET
    meta_size: _Size | None = None
    reason: Reason | None = None

    def channels(self) -> list[str]:
        """The channels that carry it, except ``tasks``, which carries everything."""
        names = [f"task:{self.id}"]
        if self.root_id:
            names.append(f"root:{self.root_id}")
        if self.group_id:
            names.append(f"group:{self.group_id}")
        if self.name:
            names.append(f"name:{self.name}")
        if self.tags:
            names.extend(dict.fromkeys(f"tag:{tag}" for tag in self.tags))
        return names


class Event(_Told, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one task's state. ``late``: it stood behind the task's state when it arrived."""

    late: bool = False


class Reserved(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run that a worker has received but not started, while the task's state is still another run's."""

    timestamp: _Moment
    hostname: str | None = None
    retries: _Tries | None = None
    run: _Run | None = None


class Task(_Told, frozen=True, kw_only=True, omit_defaults=True):
    """The known state of one task: each field's current value, and when the current run entered each state.

    ``times`` maps a state to the time at which the current run first entered it. ``offset`` is that of the last event
    folded in. ``reserved`` is the next run, if one is waiting.
    """

    final: bool
    offset: int
    times: dict[str, float]
    reserved: Reserved | None = None


#: Fields that describe the task in every state; they stay when a later event lacks them.
_LASTING: Final = (
    "name", "hostname", "queue", "retries", "sent", "run", "redelivered", "eta", "expires", "root_id", "parent_id",
    "group_id", "argsrepr", "kwargsrepr", "args", "kwargs", "tags",
)  # fmt: skip
#: Fields of one run; another run has its own, or they are unknown.
_OF_THE_RUN: Final = ("hostname", "run", "redelivered")
#: Fields that belong to one state and leave with it. ``meta`` is not one: the last progress stays true.
_OF_THE_STATE: Final = ("runtime", "result", "result_repr", "result_size", "exception", "reason")

#: States whose events set ``eta`` and ``expires``, also by leaving them out.
_SCHEDULED: Final = frozenset({"PENDING", "RECEIVED", "RETRY"})
# RETRY says when the next try may run: what a message of this one said is over.
_LASTING_BUT_SCHEDULE: Final = tuple(name for name in _LASTING if name not in ("eta", "expires"))
_OF_ALL_RUNS: Final = tuple(name for name in _LASTING_BUT_SCHEDULE if name not in _OF_THE_RUN)

#: Size of an event besides its task's own values, in bytes.
_WEIGHT: Final = 450

_encoder = msgspec.json.Encoder()
_event_decoder = msgspec.json.Decoder(Event)


def is_final(state: str) -> bool:
    """Whether a task in ``state`` has ended: SUCCESS, FAILURE, REVOKED, REJECTED or IGNORED."""
    return state in FINAL_STATES


def encode(event: Event) -> bytes:
    """The event as one line of JSON, without a newline."""
    line = _encoder.encode(event)
    # JSON strings hold no raw newline, so one can only be white space inside a value that was passed through.
    return line.replace(b"\n", b" ") if b"\n" in line else line


def weight(event: Event) -> int:
    """Approximate size of an event in bytes, in memory and as a line, without encoding it."""
    size = _WEIGHT + len(event.id) + len(event.state) + len(event.name or "")
    for part in (event.argsrepr, event.kwargsrepr, event.args, event.kwargs, event.result, event.meta):
        if part:
            size += len(part)
    if event.exception is not None:
        size += len(event.exception.message) + len(event.exception.traceback or "")
    return size


def decode(line: bytes) -> Event:
    """Decode an event from a line; unknown fields are ignored.

    msgspec skips unknown fields without checking their encoding, and one frame of invalid UTF-8 disconnects each client
    that it is sent to (RFC 6455, 8.1): so the whole line is checked.

    :raises InvalidEvent: the line is not the JSON of an event, not UTF-8, has a newline inside, is nested too deeply,
        or holds an impossible number.
    """
    try:
        event = _event_decoder.decode(line)
        line.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(str(error)) from None
    if b"\n" in line or b"\r" in line:
        raise InvalidEvent("an event is one line")
    return event


def task_of(events: Iterable[tuple[int, Event]]) -> Task | None:
    """Fold ``(offset, event)`` pairs, oldest first, to a task.

    None if there are none, or only late ones: those stand behind a state that is not among them.
    """
    task: Task | None = None
    late = []
    for offset, event in events:
        if event.late:
            late.append((offset, event))
        else:
            task = fold(task, event, offset)
    if task is not None:
        for offset, event in late:
            task = fold(task, event, offset)
    return task


def fold(task: Task | None, event: Event, offset: int) -> Task:
    """The task after one more event.

    :param task: the task so far, or None for the first event.
    :param offset: the event's offset in the journal.
    """
    if task is None:
        return _first(event, offset)
    if event.late or offset < task.offset:
        changes = {} if _of_another_life(task, event) else _completing(task, event)
    elif _of_another_life(task, event):
        return _first(event, offset)
    else:
        changes = _superseding(task, event)
    return msgspec.structs.replace(task, **changes, offset=max(task.offset, offset))


def _first(event: Event, offset: int) -> Task:
    values = {name: getattr(event, name) for name in _Told.__struct_fields__}
    return Task(**values, final=is_final(event.state), offset=offset, times={event.state: event.timestamp})


def _of_another_life(task: Task, event: Event) -> bool:
    return task.sent is not None and event.sent is not None and task.sent != event.sent


def _of_another_run(task: Task | Reserved, event: Event) -> bool:
    if (task.retries or 0) != (event.retries or 0):
        return True
    return task.run is not None and event.run is not None and task.run != event.run


def _superseding(task: Task, event: Event) -> dict[str, Any]:
    """The changes if ``event`` is the task's state from now on."""
    changes: dict[str, Any] = {
        "state": event.state,
        "timestamp": event.timestamp,
        "source": event.source,
        "final": is_final(event.state),
    }
    for name in _LASTING:
        value = getattr(event, name)
        if value is not None and value is not UNSET:
            changes[name] = value
    for name in _OF_THE_STATE:
        changes[name] = getattr(event, name)
    if event.state in _SCHEDULED:
        changes |= {"eta": event.eta, "expires": event.expires}
    times = task.times
    another_run = _of_another_run(task, event)
    if another_run:
        times = _times_before(task, event)
        changes |= {name: getattr(event, name) for name in _OF_THE_RUN}
    if another_run or event.meta is not UNSET or event.meta_size is not None:
        changes |= {"meta": event.meta, "meta_size": event.meta_size}
    if task.state == "RECEIVED" and _delivery(event) < _delivery(task):
        changes["reserved"] = _reserved(task)
    elif task.reserved is not None and not _of_another_run(task.reserved, event):
        changes["reserved"] = None
    return {**changes, "times": _entered(times, event)}


def _delivery(record: Task | Event) -> tuple[int, int]:
    return record.retries or 0, record.redelivered or 0


def _reserved(record: Task | Event) -> Reserved:
    return Reserved(timestamp=record.timestamp, hostname=record.hostname, retries=record.retries, run=record.run)


def _times_before(task: Task, event: Event) -> dict[str, float]:
    """The initial times of a run: when its try was sent, and when it was received."""
    times = {}
    if (task.retries or 0) == (event.retries or 0) and "PENDING" in task.times:
        times["PENDING"] = task.times["PENDING"]
    if task.reserved is not None and not _of_another_run(task.reserved, event):
        times["RECEIVED"] = task.reserved.timestamp
    return times


def _entered(times: dict[str, float], event: Event) -> dict[str, float]:
    return {**times, event.state: min(event.timestamp, times.get(event.state, event.timestamp))}


def _completing(task: Task, event: Event) -> dict[str, Any]:
    """The fields of a late ``event`` that are not known yet."""
    another_run = _of_another_run(task, event)
    names = _OF_ALL_RUNS if another_run else _LASTING_BUT_SCHEDULE if task.state == "RETRY" else _LASTING
    changes: dict[str, Any] = {name: getattr(event, name) for name in names if getattr(task, name) in (None, UNSET)}
    if not another_run:
        return {**changes, "times": _entered(task.times, event)}
    if event.state == "RECEIVED" and _delivery(event) > _delivery(task):
        changes |= {"eta": event.eta, "expires": event.expires, "reserved": _reserved(event)}
    elif event.state != "RECEIVED" and task.reserved is not None and not _of_another_run(task.reserved, event):
        changes["reserved"] = None  # it has begun: no longer waiting
    return changes
