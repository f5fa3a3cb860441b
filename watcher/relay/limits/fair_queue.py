"""Who is served next when many clients of few addresses compete: round robin by address, spread over time. Pure.

Clients of one address are told the same time to wait. With a timer each, all would continue in one iteration of the
event loop and block everybody else: twelve flooding connections delayed others by 60 ms, again and again. And with a
line per address, five addresses would take five times the time of one.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

__all__ = ["FairQueue", "FairSemaphore", "Payer", "QueuePlace", "RoundRobin"]

K = TypeVar("K")
T = TypeVar("T")

#: Seconds for which waiting clients are served, one after the other, before the event loop serves others.
_SLICE: Final = 0.001
#: Shortest wait, in seconds: the precision of timers.
_LEAST: Final = 0.001
#: While a light client was served within the last _LATELY seconds, waiting ones pause after their work: for as long as
#: it took, at most _PAUSE seconds.
_LATELY: Final = 0.05
_PAUSE: Final = 0.03


class Payer(Protocol):
    """An address that pays for its work."""

    def ahead(self, now: float) -> float:
        """Seconds that it must wait; 0 or less if none."""


class RoundRobin(Generic[K, T]):
    """Items by owner: one of each owner in turn, each owner's oldest first."""

    __slots__ = ("_lines", "_ready")

    def __init__(self) -> None:
        self._lines: dict[K, dict[T, None]] = {}
        self._ready: dict[K, None] = {}  # who of them doesn't rest, who is next first

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def of(self, whose: K) -> int:
        """Number of items of an owner."""
        return len(self._lines.get(whose, ()))

    @property
    def owners(self) -> int:
        """Number of owners with items."""
        return len(self._lines)

    def add(self, whose: K, item: T) -> None:
        """Put an item at the end of its owner's line."""
        line = self._lines.get(whose)
        if line is None:
            line = self._lines[whose] = {}
            self._ready[whose] = None
        line[item] = None

    def remove(self, whose: K, item: T) -> None:
        """Remove an item; does nothing if it is not there."""
        line = self._lines.get(whose)
        if line is not None and line.pop(item, self) is None and not line:
            del self._lines[whose]
            self._ready.pop(whose, None)

    def whose(self) -> K | None:
        """The next owner; None if there is none."""
        return next(iter(self._ready), None)

    def take(self, whose: K) -> T:
        """Take the first item of an owner's line; the owner goes behind the others."""
        line = self._lines[whose]
        item = next(iter(line))
        self._ready.pop(whose, None)
        del line[item]
        if line:
            self._ready[whose] = None
        else:
            del self._lines[whose]
        return item

    def rest(self, whose: K) -> None:
        """Skip an owner until :meth:`wake`."""
        self._ready.pop(whose, None)

    def wake(self, whose: K) -> None:
        """Let an owner be served again, behind those that already may be."""
        if whose in self._lines:
            self._ready.setdefault(whose)


class FairSemaphore(Generic[T]):
    """A semaphore in which busy owners share a part of the slots, in turn.

    :param limit: number of slots.
    :param shared: number of slots that busy owners may use.
    """

    def __init__(self, limit: int, shared: int) -> None:
        self._free, self._shared = limit, shared
        self._light: dict[T, None] = {}
        self._heavy: RoundRobin[object, T] = RoundRobin()

    def __len__(self) -> int:
        return len(self._light) + len(self._heavy)

    @property
    def free(self) -> int:
        """Number of free slots."""
        return self._free

    def waiting(self, whose: object | None) -> tuple[int, int]:
        """How many wait with it, and how many addresses share the room for those who wait."""
        return (len(self._light), 1) if whose is None else (self._heavy.of(whose), self._heavy.owners or 1)

    def enter(self, item: T, whose: object | None) -> bool:
        """Take a slot and return True, or wait until :meth:`leave` names the item.

        :param whose: the owner if it is busy; None for everyone else.
        """
        if self._free and (whose is None or self._shared):
            self._have(whose)
            return True
        if whose is None:
            self._light[item] = None
        else:
            self._heavy.add(whose, item)
        return False

    def leave(self, whose: object | None) -> T | None:
        """Free a slot; returns the item that has it now, if any."""
        self._free += 1
        self._shared += whose is not None
        if self._light:
            item = next(iter(self._light))
            del self._light[item]
            self._have(None)
            return item
        following = self._heavy.whose() if self._shared else None
        if following is None:
            return None
        self._have(following)
        return self._heavy.take(following)

    def along(self, whose: object | None, most: int) -> list[T]:
        """Of those who wait with somebody who has a place some more, which share it."""
        if whose is None:
            taken = list(itertools.islice(self._light, most))
            for item in taken:
                del self._light[item]
            return taken
        return [self._heavy.take(whose) for _ in range(min(most, self._heavy.of(whose)))]

    def withdraw(self, item: T, whose: object | None) -> None:
        """Stop waiting."""
        if whose is None:
            self._light.pop(item, None)
        else:
            self._heavy.remove(whose, item)

    def _have(self, whose: object | None) -> None:
        self._free -= 1
        self._shared -= whose is not None


class QueuePlace:
    """A place in a line; it can be cancelled, like asyncio's handles."""

    __slots__ = ("_turns", "go_on", "payer")

    def __init__(self, turns: FairQueue, payer: Payer, go_on: Callable[[], bool | None]) -> None:
        self._turns = turns
        self.payer = payer
        self.go_on = go_on

    def cancel(self) -> None:
        """Stop waiting; does nothing if the turn has come already."""
        self._turns.leave(self)


class FairQueue:
    """All who wait until their address may go on: one of each address in turn.

    ``timer`` is what will call :meth:`advance`, and ``soon`` whether it does so at once: for whoever drives this.
    ``spent``: seconds of the processor that were spent for those who wait; ``served``: when something was done for
    anybody else. Whoever charges for it says so.
    """

    __slots__ = ("_numbers", "_pauses", "_resting", "_waiting", "served", "soon", "spent", "timer")

    def __init__(self) -> None:
        self._waiting: RoundRobin[Payer, QueuePlace] = RoundRobin()
        self._resting: list[tuple[float, int, Payer]] = []  # who is in debt, by when it is paid
        self._numbers = itertools.count()
        self.spent = self.served = self._pauses = 0.0
        self.soon = False
        self.timer: Any = None

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, payer: Payer, go_on: Callable[[], bool | None]) -> QueuePlace:
        """Stand at the end of an address' line.

        :param go_on: called by :meth:`advance` when its turn has come; it may join again. True, where it has begun what
            will take time only now: nobody else goes on before.
        """
        turn = QueuePlace(self, payer, go_on)
        self._waiting.add(payer, turn)
        return turn

    def leave(self, turn: QueuePlace) -> None:
        """Stop waiting."""
        self._waiting.remove(turn.payer, turn)

    def of(self, payer: Payer) -> int:
        """Number of items in an address's line."""
        return self._waiting.of(payer)

    def advance(self, clock: Callable[[], float]) -> float | None:
        """Let those go on whose turn it is, for a moment.

        :returns: seconds until this is to be called again; None where nobody waits any more.
        """
        now = clock()
        end = now + _SLICE
        if now - self.served > _LATELY:
            self.spent = 0.0
        elif self.spent >= _LEAST:
            self._pauses = now + min(self.spent, _PAUSE)
            self.spent = 0.0
        if now < self._pauses:  # whoever joins meanwhile makes it no shorter
            return self._pauses - now
        while self._resting and self._resting[0][0] <= now:
            self._waiting.wake(heapq.heappop(self._resting)[2])
        while (payer := self._waiting.whose()) is not None and now < end:
            if (wait := payer.ahead(now)) > 0:
                self._waiting.rest(payer)
                heapq.heappush(self._resting, (now + wait, next(self._numbers), payer))
            elif self._waiting.take(payer).go_on():
                break
            else:
                now = clock()
        if self._waiting.whose() is not None:
            return 0.0
        while self._resting and not self._waiting.of(self._resting[0][2]):
            heapq.heappop(self._resting)  # all of that address have left
        return max(self._resting[0][0] - now, _LEAST) if self._resting else None
