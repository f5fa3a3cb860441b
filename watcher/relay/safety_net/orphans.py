"""Unfinished tasks that will never say so themselves: those lost with their worker, and those that nobody took in time.

Pure decisions, on what the journal knows of a task and of the workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from watcher.core.event import Event, Reason, Reserved, Task
from watcher.core.order import incarnation_of

__all__ = ["Workers", "may_be_stranded", "stranded"]

#: A worker that has not been heard for this long is gone, in seconds; it says something every two.
_GONE: Final = 10.0
#: A task is taken for expired this long after the moment, in seconds: clocks differ, and a worker's word is better.
_GRACE: Final = 30.0
#: What is waiting for a worker to start it.
_WAITING: Final = ("PENDING", "RECEIVED", "RETRY")
#: A worker that was last heard of so many days ago is forgotten.
_DAYS: Final = 7.0


class _Worker(NamedTuple):
    started: float
    last: float


class Workers:
    """The workers that give signs of life.

    :param beats: ``HOSTNAME INCARNATION`` → ``STARTED LAST``; see :attr:`watcher.journal.layout.Journal.workers`.
    :param now: Unix seconds by Redis' clock.
    """

    def __init__(self, beats: Mapping[bytes, bytes], now: float) -> None:
        self._now = now
        self._fields: dict[str, _Worker] = {}
        self._processes: dict[tuple[str, str], _Worker] = {}
        self._newest: dict[str, _Worker] = {}  # by hostname
        for field, beat in beats.items():
            try:
                started, last = map(float, beat.split())
            except ValueError:
                continue
            name, worker = field.decode(errors="replace"), _Worker(started, last)
            hostname, _, incarnation = name.rpartition(" ")
            hostname = hostname or name
            self._fields[name] = self._processes[hostname, incarnation] = worker
            self._newest[hostname] = max(worker, self._newest.get(hostname, worker), key=lambda process: process.last)

    def has_lost(self, record: Task | Event | Reserved) -> bool:
        """Whether the worker that had the task is gone, or is another one by now.

        A worker that never gave a sign, because its plugin doesn't, may be there.
        """
        process = self._process(record)
        if process is not None:
            return self._is_gone(process)
        # A worker with a plugin of before runs were told.
        worker = self._newest.get(record.hostname or "")
        if worker is None:
            return False
        return self._is_gone(worker) or record.timestamp < worker.started

    def has(self, record: Task | Event | Reserved) -> bool:
        """Whether the worker that has the task is certainly there."""
        worker = self._process(record) or self._newest.get(record.hostname or "")
        return worker is not None and not self.has_lost(record)

    def knows(self, hostname: str | None) -> bool:
        """Whether a worker of that name has the plugin, and so tells of its tasks itself."""
        return hostname in self._newest

    def any(self) -> bool:
        """Whether any of them is there."""
        return any(not self._is_gone(worker) for worker in self._fields.values())

    def forgotten(self) -> Iterable[str]:
        """The fields of those that were last heard of long ago."""
        return [name for name, worker in self._fields.items() if self._now - worker.last > _DAYS * 86400]

    def _process(self, record: Task | Event | Reserved) -> _Worker | None:
        return self._processes.get((record.hostname or "", incarnation_of(record.run))) if record.run else None

    def _is_gone(self, worker: _Worker) -> bool:
        return self._now - worker.last > _GONE


def may_be_stranded(newest: Event, workers: Workers) -> bool:
    """Whether it is worth asking :func:`stranded`, by the event that made a task's current state.

    Most unfinished tasks are running, and to fold each of them from all of its events takes time.
    """
    return newest.state in _WAITING or (newest.reason is None and (not newest.hostname or workers.has_lost(newest)))


def stranded(task: Task, workers: Workers, now: float) -> Event | None:
    """What to say of an unfinished task that is not going to go on by itself; None where it may.

    :param now: Unix seconds.
    """
    if task.final:
        return None
    if task.state in _WAITING and _has_expired(task, now) and not _is_held(task, workers):
        return _of(task, "REVOKED", now, "expired")
    if task.reason is None and not _is_queued(task) and workers.has_lost(task):
        # Not its end: with acks_late the broker hands it to another worker, and then its story goes on.
        return _of(task, task.state, task.timestamp, "worker_lost")
    return None


def _is_held(task: Task, workers: Workers) -> bool:
    """Whether a worker has it: only that knows then whether it runs, since Celery looks at ``expires`` on receipt."""
    if task.reserved is not None:
        return workers.has(task.reserved)
    return task.state == "RECEIVED" and workers.has(task)


def _is_queued(task: Task) -> bool:
    """Whether a message of it waits in a queue, or on its way there.

    ``RETRY`` of a worker that was told to stop at once, or has lost its broker, says neither why nor when: its message
    is put back by the broker, or is gone (celery/worker/request.py, ``_announce_cancelled``).
    """
    if task.state != "RETRY":
        return task.state == "PENDING"
    return task.eta is not None or task.exception is not None or task.reserved is not None


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
        sent=task.sent, run=task.run, redelivered=task.redelivered, name=task.name, hostname=task.hostname,
        queue=task.queue, root_id=task.root_id, parent_id=task.parent_id, group_id=task.group_id, tags=task.tags,
    )  # fmt: skip
