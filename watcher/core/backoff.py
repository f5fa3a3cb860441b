"""How long to wait between two attempts. Pure.

What ends for many at one moment (a server stops, a network is cut) must not be asked for by all of them at one moment
again. So each wait is about twice as long as the one before, up to a bound, and chance takes a part of it away.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["TO_REDIS", "TO_RELAY", "Backoff"]

_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """One policy. It has no state: whoever tries counts the attempts that have failed since one has succeeded.

    :param first: the wait after the first failure is no longer than this, in seconds …
    :param longest: … and none is longer than this.
    :param spread: the share of each that chance may take away: from 0, nothing, to 1, all of it ("full jitter").
    """

    first: float
    longest: float
    spread: float = 0.5

    def seconds(self, attempt: int, uniform: Callable[[], float] = random.random) -> float:
        """The wait before the next attempt.

        :param attempt: how many have failed since one has succeeded, without the one that has just failed: 0, 1, 2, …
        :param uniform: gives numbers from 0 to 1.
        """
        most: float = min(self.longest, self.first * 2 ** min(attempt, _DOUBLINGS))
        return most * (1 - self.spread * (1 - uniform()))


#: A worker has its own, in worker/publish/sender.py and worker/heartbeat.py; the lease, in relay/safety_net/lease.py.
#: Between two attempts of a relay, or of a program that waits for results, to listen to Redis or to ask it.
TO_REDIS: Final = Backoff(first=0.05, longest=1.0)
#: Between two attempts of a client to reach its relay, or to ask again what the relay can't answer just now.
TO_RELAY: Final = Backoff(first=0.2, longest=20.0, spread=1.0)
