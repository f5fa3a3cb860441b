"""How fast a process publishes, and what that means for how its events travel: pure, the caller brings the time.

Each send wakes the publisher's thread and takes the interpreter from the tasks for a moment, which costs a tenth to a
quarter of a millisecond of CPU in all. When events are few, each leaves at once. When they are many, it pays to send
more at a time: first the events that nobody waits for linger until one comes that somebody does wait for, a task's end;
and where even the ends are many, the thread rests between two sends.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Pace"]

#: Seconds over which rates are averaged.
_MEMORY: Final = 0.25
#: Seconds of the longest wait, of either kind.
_LONGEST: Final = 0.02


class Pace:
    """How long to linger, and how long to rest, in seconds; both follow the rates of the last moments."""

    def __init__(self) -> None:
        self._events = 0.0
        self._ends = 0.0
        self._last = -math.inf

    def note(self, events: int, ends: int, now: float) -> None:
        """So many events are about to be sent, so many of them the end of a task.

        :param now: seconds on any clock that doesn't go back.
        """
        elapsed = max(now - self._last, 1e-3)
        self._last = now
        share = 1 - math.exp(-elapsed / _MEMORY)
        self._events += (events / elapsed - self._events) * share
        self._ends += (ends / elapsed - self._ends) * share

    @property
    def linger(self) -> float:
        """How long an event that is no end may wait for others: nothing below 50 events a second."""
        return _between(self._events, 50.0, 200.0) * _LONGEST

    @property
    def rest(self) -> float:
        """How long to wait after a send, whatever comes: nothing below 300 ends a second."""
        return _between(self._ends, 300.0, 600.0) * _LONGEST


def _between(rate: float, few: float, many: float) -> float:
    """Where ``rate`` stands between the two, from 0 to 1."""
    return min(max((rate - few) / (many - few), 0.0), 1.0)
