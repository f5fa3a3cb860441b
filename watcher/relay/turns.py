"""Who waits until their address may go on: first come, first served, and not all of them at the same moment.

Pure. Those who share an address are told the same time to wait. If each had a timer, all of them would go on in one
turn of the event loop, and nobody else meanwhile: twelve connections that flood held up everybody for 60 ms, again and
again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Turn", "Turns"]

#: So long one address's may go on, one after the other, before others have their turn, in seconds.
_SLICE: Final = 0.002
#: The least that is waited for, in seconds: timers are no more exact.
_LEAST: Final = 0.001


class Turn:
    """A place in a line; like a handle of asyncio's it can be cancelled."""

    __slots__ = ("_turns", "go_on")

    def __init__(self, turns: Turns, go_on: Callable[[], bool | None]) -> None:
        self._turns = turns
        self.go_on = go_on

    def cancel(self) -> None:
        """Wait no more; nothing happens where its turn has come already."""
        self._turns.leave(self)


class Turns:
    """Those of one address who wait, in a line."""

    __slots__ = ("_led", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Turn, None] = {}
        self._led = False  # whether somebody is going to call advance()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, go_on: Callable[[], bool | None]) -> Turn:
        """Stand at the end.

        :param go_on: called by :meth:`advance` when its turn has come; it may join again. True, where it has begun what
            will take time only now: nobody else goes on before.
        """
        turn = Turn(self, go_on)
        self._waiting[turn] = None
        return turn

    def leave(self, turn: Turn) -> None:
        """Wait no more."""
        self._waiting.pop(turn, None)

    def lead(self) -> bool:
        """Whether the caller is the one who has to call :meth:`advance`, as often as it asks for."""
        first, self._led = not self._led, True
        return first

    def advance(self, ahead: Callable[[float], float], clock: Callable[[], float]) -> float | None:
        """Let those go on whose turn it is, for a moment.

        :param ahead: for how many seconds the address has to wait, at this time; each who goes on may change it.
        :returns: seconds until this is to be called again; None where nobody waits any more.
        """
        now = clock()
        end = now + _SLICE
        while self._waiting and now < end:
            if (wait := ahead(now)) > 0:
                return max(wait, _LEAST)
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if turn.go_on():
                return 0.0
            now = clock()
        if self._waiting:
            return 0.0
        self._led = False
        return None
