"""What a wait straight from Redis can end with, beside what the task raised."""

from __future__ import annotations

from watcher.client.errors import ResultUnavailable
from watcher.core.errors import WatcherError

__all__ = ["RedisRefused", "ResultUnreadable", "ResultsClosed"]


class ResultsClosed(WatcherError):
    """The ``async with watcher.results(…)`` block has ended, and with it whatever was still waiting."""


class RedisRefused(WatcherError):
    """Redis says no, and would again: a password that is wrong, or a user who may not read results."""


class ResultUnreadable(ResultUnavailable):
    """What is stored of the task isn't JSON, and :func:`watcher.results` was given a URL: nothing else is read then."""

    def __str__(self) -> str:
        return (
            f"what is stored of task {self.id} isn't JSON: give watcher.results() the Celery app, "
            "and the serializers that it accepts are read"
        )
