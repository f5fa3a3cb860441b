"""What a wait straight from Redis can end with, beside what the task raised."""

from __future__ import annotations

from watcher.client.errors import ResultUnavailable
from watcher.core.errors import WatcherError

__all__ = ["RedisRefused", "ResultUnreadable", "ResultsClosed"]


class ResultsClosed(WatcherError):
    """The ``async with watcher.results(…)`` block has ended, and with it whatever was still waiting."""


class RedisRefused(WatcherError):
    """Redis refused for good: the password is wrong, or the user may not read results."""


class ResultUnreadable(ResultUnavailable):
    """The stored result is not JSON, and :func:`watcher.results` was given a URL, so it reads nothing else."""

    def __str__(self) -> str:
        return (
            f"the stored result of task {self.id} is not JSON: give watcher.results() the Celery app, "
            "to read every serializer that the app accepts"
        )
