"""What wakes the thread that publishes."""

from __future__ import annotations

import threading
from contextlib import suppress

__all__ = ["Bell"]


class Bell:
    """Rung from anywhere, a signal handler included, and waited for by one thread.

    It rings until it was heard, however often it was rung. A lock does it in a third less time than an Event, which
    makes a lock and a list of who waits each time.
    """

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = threading.Lock()
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

    def wait(self, timeout: float) -> None:
        """Wait until it rings, for ``timeout`` seconds at most. It is heard then."""
        self._silence.acquire(timeout=timeout)

    def hear(self) -> None:
        """Let it not ring any more."""
        self._silence.acquire(blocking=False)
