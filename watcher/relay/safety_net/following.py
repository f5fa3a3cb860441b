"""What Celery's result backend has stored, as the next event of a task: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from watcher.core.event import Event, Task, is_final
from watcher.core.order import rank
from watcher.relay.safety_net.orphans import Workers

__all__ = ["following", "is_settled"]

#: Little of this is stored, and some only with result_extended; the channels that carry an event depend on it.
_FROM_ANOTHER_TRY: Final = ("name", "queue", "sent", "root_id", "parent_id", "group_id", "tags")
_FROM_THE_TASK: Final = (*_FROM_ANOTHER_TRY, "hostname")
#: Ends that the backend has nothing to say against: it keeps SUCCESS, and doesn't know the others.
_SETTLED: Final = ("SUCCESS", "REJECTED", "IGNORED")
#: An end is stored first, and told of within so many seconds, by the same clock.
_SAME_END: Final = 5.0
#: The last digit of a stored moment.
_TICK: Final = 0.000001


def is_settled(newest: Event | None) -> bool:
    """Whether nothing that is stored of a task can add to the event that made its current state."""
    return newest is not None and newest.state in _SETTLED


def following(event: Event, task: Task | None, events: Sequence[Event], workers: Workers) -> Event | None:
    """``event``, made from what is stored, as the next one of ``task``; None where it says nothing new.

    :param task: as the journal knows it.
    :param events: its events so far, those of earlier runs and lives too.
    """
    if task is None:
        # Celery 5.6.2 and later store REVOKED for whatever id somebody revokes: that makes no task.
        return None if event.state == "REVOKED" and event.reason == "revoked" else event
    if event.state == "STARTED" and workers.knows(event.hostname):
        # Its worker has told of it; what is stored has no time, so it may be of an earlier life or run.
        return None
    if _is_of_before(event, task, events) or _is_somebody_elses_word(event, task, workers):
        return None
    placed = _placed(event, task)
    if placed is None or not _says_more(placed, task):
        return None
    # Of another try it isn't known who has it.
    names = _FROM_THE_TASK if (placed.retries or 0) == (task.retries or 0) else _FROM_ANOTHER_TRY
    kept_fields = {name: getattr(task, name) for name in names if getattr(placed, name) is None}
    return msgspec.structs.replace(placed, **kept_fields)


def _is_of_before(event: Event, task: Task, events: Sequence[Event]) -> bool:
    """Whether it is of an earlier run or life, and stored still.

    A backend that keeps no time of it (``date_done``) is taken at its word. So is one where nothing but the sender's
    moment is known, which another clock may have given.
    """
    if not is_final(event.state):
        # Who started a task is stored with it.
        return rank(event.state) >= rank("STARTED") and _has_begun_again(
            task, [other for other in events if event.hostname in (None, other.hostname)]
        )
    started = task.times.get("STARTED") if _is_told_by_a_worker(task) else None
    if started is not None and event.timestamp < started:
        return True
    ends = [other for other in events if is_final(other.state)]
    earlier = [end for end in ends if (end.run, end.sent, end.state) != (task.run, task.sent, task.state)]
    return any(-_TICK < end.timestamp - event.timestamp < _SAME_END for end in earlier)


def _is_told_by_a_worker(task: Task) -> bool:
    """Whether its state comes from a plugin: a relay says that a worker is lost of those only that have one."""
    return task.source == "signal" or task.reason == "worker_lost"


def _has_begun_again(task: Task, events: Sequence[Event]) -> bool:
    """Whether the task waits or has started, and has reported nothing since, but an earlier run or life had begun.

    Starts and reports are stored without their time, until another one is.
    """
    if not _is_told_by_a_worker(task) or rank(task.state) > rank("STARTED"):
        return False
    this = (task.retries or 0, task.run)
    return any(
        rank(earlier.state) >= rank("STARTED")
        and (
            (earlier.retries or 0, earlier.run) != this
            or (None not in (earlier.sent, task.sent) and earlier.sent != task.sent)
        )
        for earlier in events
    )


def _is_somebody_elses_word(event: Event, task: Task, workers: Workers) -> bool:
    """Whether a worker runs the task, and what is stored is not its end, but from another worker or an earlier run.

    Another worker stores that it was revoked (Celery 5.6.2 and later). ``RETRY`` of the run before is stored until this
    one has reported or ended, and without its time; and a task may give itself that name while it runs.
    """
    if not rank("STARTED") <= rank(task.state) <= rank("PROGRESS"):
        return False
    if event.state == "REVOKED":
        return event.reason == "revoked" and workers.has(task)
    if event.state == "RETRY":
        return bool((task.retries and event.retries is None) or task.redelivered or event.exception is None)
    return False


def _placed(event: Event, task: Task) -> Event | None:
    """``event`` in the run that it belongs to; None where that is over."""
    tries = task.retries or 0
    if event.retries is None:
        if event.state == "RETRY" and rank(task.state) < rank("STARTED"):
            return None  # of the try before: this one has not begun
        begun = task.state == "RETRY" and event.state != "RETRY"
        event = msgspec.structs.replace(event, retries=tries + begun)
    retries = event.retries or 0
    if retries < tries:
        return None
    if retries == tries:
        return msgspec.structs.replace(event, run=task.run, redelivered=task.redelivered)
    reserved = task.reserved
    if reserved is not None and (reserved.retries or 0) == retries:
        return msgspec.structs.replace(event, run=reserved.run, hostname=event.hostname or reserved.hostname)
    return event


def _says_more(event: Event, task: Task) -> bool:
    if (event.retries or 0) > (task.retries or 0):
        return rank(event.state) >= rank("STARTED")
    if event.state == task.state:
        return rank(event.state) == rank("PROGRESS") and _meta(event) != _meta(task)
    if task.final:
        return is_final(event.state)
    return rank(event.state) >= rank(task.state)


def _meta(record: Event | Task) -> bytes:
    return bytes(record.meta) if isinstance(record.meta, msgspec.Raw) else b""
