"""What wakes the thread that publishes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Wakeup"]


class Wakeup:
    """Rung from anywhere, a signal handler included, and waited for by one thread.

    It rings until it was heard, however often it was rung. A lock does it in a third less time than an Event, which
    makes a lock and a list of who waits each time.

    :param lock: makes its lock; None: what ``threading`` has now, which gevent and eventlet replace.
    """

    __slots__ = ("_silence",)

    def __init__(self, lock: Callable[[], threading.Lock] | None = None) -> None:
        self._silence = (lock or threading.Lock)()
        self._silence.acquire()

    @property
    def rings(self) -> bool:
        """Whether it was rung and not heard."""
        return not self._silence.locked()

    def ring(self) -> None:
        """Wake who waits, or who will."""
        if self._silence.locked():
            with suppress(RuntimeError):  # another thread rang it just now
                self._silence.release()

    def wait(self, timeout: float) -> bool:
        """Wait until it rings, for ``timeout`` seconds at most, and tell whether it did. It is heard then."""
        return self._silence.acquire(timeout=timeout)

    def hear(self) -> None:
        """Let it not ring any more."""
        self._silence.acquire(blocking=False)
