"""A result backend that takes its time, as a database far away does; see `BACKEND`."""

from __future__ import annotations

import threading
from typing import Any

from celery.backends.redis import RedisBackend

#: Goes before the URL of a Redis.
BACKEND = "tests.end_to_end.slow:Slow+"
_SECONDS = 0.3


class Slow(RedisBackend):
    """Redis, 0.3 s away."""

    def get(self, key: Any) -> Any:
        """What is stored, after a while."""
        threading.Event().wait(_SECONDS)
        return super().get(key)
