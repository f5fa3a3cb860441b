"""How much a process's publishing may take from its tasks, and what that means for how its events travel.

Each send wakes the publisher's thread and takes the interpreter and the core from the tasks: a tenth of a millisecond
of CPU where the machine is fast, half of one where it is slow, whatever it carries. So the thread has an allowance, a
share of a core. While it lasts, each event leaves at once. When it runs short, it is spent on what somebody waits for,
the ends of tasks: other events linger until one comes, and where none does, as in the main process of a worker, a send
counts twice. When it has run out, the thread rests after each send until that is paid for, so that more leave together.

Pure: the caller brings the times.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["CpuBudget"]

#: The allowance, in seconds of CPU a second, and how much of it may be saved up: what a second brings.
_SHARE: Final = 0.01
_SAVED: Final = _SHARE
#: What a send without an end counts.
_NO_ENDS: Final = 2
#: Seconds of the longest waits. What counts twice rests twice as long.
_LINGER: Final = 0.02
_REST: Final = 0.03
# So many seconds of CPU the longest rest pays for. A send that took more, since it was large or had to connect first,
# doesn't make those after it later than that.
_PAID: Final = _REST * _SHARE


class CpuBudget:
    """How long to linger, and how long to rest, in seconds."""

    def __init__(self) -> None:
        self._left = _SAVED
        self._last = math.inf

    def note(self, used: float, now: float, *, ends: bool = True) -> None:
        """So many seconds of CPU were used since the last note.

        :param now: seconds on any clock that doesn't go back.
        :param ends: whether the end of a task was among what was sent.
        """
        earned = max(now - self._last, 0.0) * _SHARE
        self._last = now
        times = 1 if ends else _NO_ENDS
        self._left = min(max(self._left + earned - times * min(used, _PAID), -times * _PAID), _SAVED)

    @property
    def linger(self) -> float:
        """How long an event that is no end may wait for others: nothing while half of what can be saved up is left."""
        return _LINGER if self._left < _SAVED / 2 else 0.0

    @property
    def rest(self) -> float:
        """How long to wait after a send, whatever comes: nothing while anything is left."""
        return max(-self._left, 0.0) / _SHARE
