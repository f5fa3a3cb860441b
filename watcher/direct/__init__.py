"""Results and events straight from Redis, for programs that use Celery already: ``watcher.results``."""

from __future__ import annotations

from watcher.direct.errors import RedisRefused, ResultsClosed, ResultUnreadable
from watcher.direct.events import Events
from watcher.direct.outcome import Outcome
from watcher.direct.results import Results, results

__all__ = ["Events", "Outcome", "RedisRefused", "ResultUnreadable", "Results", "ResultsClosed", "results"]
