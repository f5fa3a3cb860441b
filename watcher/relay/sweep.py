"""Unfinished tasks that will never say so themselves: those lost with their worker, and those that nobody took in time.

Pure decisions, on what the journal knows of a task and of the workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from watcher.event import Event, Reason, Task

__all__ = ["Workers", "may_be_stranded", "stranded"]

#: A worker that has not been heard for this long is gone, in seconds; it says something every two.
_GONE: Final = 10.0
#: A task is taken for expired this long after the moment, in seconds: clocks differ, and a worker's word is better.
_GRACE: Final = 30.0


class _Worker(NamedTuple):
    started: float
    last: float


class Workers:
    """The workers that give signs of life.

    :param beats: hostname → ``STARTED LAST``; see :attr:`watcher.journal.Journal.workers`.
    :param now: Unix seconds by Redis' clock.
    """

    def __init__(self, beats: Mapping[bytes, bytes], now: float) -> None:
        self._now = now
        self._known: dict[str, _Worker] = {}
        for hostname, beat in beats.items():
            try:
                started, last = map(float, beat.split())
            except ValueError:
                continue
            self._known[hostname.decode(errors="replace")] = _Worker(started, last)

    def has_lost(self, task: Task | Event) -> bool:
        """Whether the worker that had ``task`` is gone, or is another one by now.

        A worker that never gave a sign, because its plugin doesn't, may be there.
        """
        worker = self._known.get(task.hostname or "")
        if worker is None:
            return False
        return task.timestamp < worker.started or self._now - worker.last > _GONE

    def any(self) -> bool:
        """Whether any of them is there."""
        return any(self._now - worker.last <= _GONE for worker in self._known.values())

    def forgotten(self, days: float = 7.0) -> Iterable[str]:
        """Hostnames that were last heard of long ago."""
        return [name for name, worker in self._known.items() if self._now - worker.last > days * 86400]


def may_be_stranded(newest: Event, workers: Workers) -> bool:
    """Whether it is worth asking :func:`stranded`, by the event that made a task's current state.

    Most unfinished tasks are running, and to fold each of them from all of its events takes time.
    """
    waiting = newest.state in ("PENDING", "RECEIVED")
    return newest.reason is None and (waiting or newest.hostname is None or workers.has_lost(newest))


def stranded(task: Task, workers: Workers, now: float) -> Event | None:
    """What to say of an unfinished task that is not going to go on by itself; None where it may.

    :param now: Unix seconds.
    """
    if task.final or task.reason is not None:
        return None
    if task.state in ("PENDING", "RECEIVED") and _has_expired(task, now):
        return _of(task, "REVOKED", now, "expired")
    if task.state not in ("PENDING", "RETRY") and workers.has_lost(task):
        # Not its end: with acks_late the broker hands it to another worker, and then its story goes on.
        return _of(task, task.state, task.timestamp, "worker_lost")
    return None


def _has_expired(task: Task, now: float) -> bool:
    if task.expires is None:
        return False
    try:
        moment = datetime.fromisoformat(task.expires)
    except ValueError:
        return False
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return now - aware.timestamp() > _GRACE


def _of(task: Task, state: str, timestamp: float, reason: Reason) -> Event:
    return Event(
        id=task.id, state=state, timestamp=timestamp, source="backend", reason=reason, retries=task.retries,
        name=task.name, hostname=task.hostname, queue=task.queue, root_id=task.root_id, parent_id=task.parent_id,
        group_id=task.group_id, tags=task.tags,
    )  # fmt: skip
