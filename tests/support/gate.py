"""A gate in Redis that a task waits at until the test opens it: so it is seen in the middle on any machine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

#: A task whose gate nobody opens fails after so many seconds.
_SECONDS = 60


class Gate:
    """A gate, closed at first.

    :param url: of the Redis.
    """

    def __init__(self, url: str) -> None:
        self.name = f"gate:{uuid.uuid4()}"
        self._url = url

    def open(self) -> None:
        """Let everyone through, now and later."""
        with Redis.from_url(self._url) as redis:
            redis.lpush(self.name, "open")
            redis.expire(self.name, 2 * _SECONDS)


@contextmanager
def gate(url: str) -> Iterator[Gate]:
    """A gate that is open at last: no worker is left with a task that waits.

    :param url: of the Redis that the tasks' result backend is.
    """
    made = Gate(url)
    try:
        yield made
    finally:
        made.open()


def pass_through(redis: Redis, name: str) -> None:
    """Wait until the gate is open; it stays open for others.

    :raises TimeoutError: nobody has opened it.
    """
    # From its end to its own beginning: whoever else waits is let through, too.
    if redis.blmove(name, name, _SECONDS, "RIGHT", "LEFT") is None:
        raise TimeoutError(f"nobody opened {name} within {_SECONDS} s")
