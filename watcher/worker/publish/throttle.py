"""Thins out the reports of a task that reports its progress too often. Pure: the caller brings the time."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["ProgressThrottle"]

T = TypeVar("T")


class ProgressThrottle(Generic[T]):
    """Lets one report per task and interval through, and keeps the newest of the others until its time has come.

    It keeps at most ``limit`` reports, one a task; beyond that, reports pass at once, so what it costs is bounded and
    nothing is lost by it.

    :param interval: seconds between two reports of one task.
    :param limit: how many reports it keeps.
    """

    def __init__(self, interval: float = 0.1, limit: int = 1000) -> None:
        self._interval = interval
        self._limit = limit
        # Oldest first: an entry is taken out and put in again when it gets a new time.
        self._passed_at: dict[str, float] = {}
        self._delayed: dict[str, T] = {}

    def __len__(self) -> int:
        """How many reports are kept."""
        return len(self._delayed)

    @property
    def idle(self) -> bool:
        """Whether no report is kept, nor any remembered."""
        return not self._passed_at

    def offer(self, task_id: str, report: T, now: float) -> tuple[T | None, T | None]:
        """A task reports: what passes now, and what is not needed any more because a newer one took its place.

        :param now: seconds on any clock that doesn't go back.
        """
        self._forget(now)
        if task_id in self._passed_at and (task_id in self._delayed or len(self._delayed) < self._limit):
            replaced = self._delayed.get(task_id)
            self._delayed[task_id] = report
            return None, replaced
        self._passed_at.pop(task_id, None)
        self._passed_at[task_id] = now
        return report, None

    def release(self, task_id: str) -> T | None:
        """Another event of the task is about to pass: the report that must go before it, where one is kept."""
        self._passed_at.pop(task_id, None)
        return self._delayed.pop(task_id, None)

    def due(self, now: float) -> list[T]:
        """The reports whose time has come."""
        ready = []
        for task_id in [task_id for task_id in self._delayed if self._passed_at[task_id] + self._interval <= now]:
            ready.append(self._delayed.pop(task_id))
            del self._passed_at[task_id]
            self._passed_at[task_id] = now
        self._forget(now)
        return ready

    def release_all(self) -> list[T]:
        """All kept reports, oldest task first: nothing will call :meth:`due` any more."""
        ready = list(self._delayed.values())
        self._delayed.clear()
        self._passed_at.clear()
        return ready

    def next_due(self) -> float | None:
        """When :meth:`due` will have something to give, on the clock of ``now``; None where nothing is kept."""
        if not self._delayed:
            return None
        return min(self._passed_at[task_id] for task_id in self._delayed) + self._interval

    def _forget(self, now: float) -> None:
        """Drop the times that no longer hold anything back."""
        while self._passed_at:
            task_id = next(iter(self._passed_at))
            if task_id in self._delayed or self._passed_at[task_id] + self._interval > now:
                return
            del self._passed_at[task_id]
