"""Carries items in batches that grow by themselves: one at a time while there is little to do, many under load.

There are a few lanes. Whoever finds a free one takes it, and all that is waiting along with its own item; at the end
the lane goes to whoever has waited longest. No task, no timer, no delay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio

from watcher.errors import TooMany, Unavailable

__all__ = ["Lanes"]

T = TypeVar("T")

#: Most items of a batch.
_MOST: Final = 100


class _Waiting(Generic[T]):
    """An item, and whether it has a lane (``leads``) or somebody has taken it along (``taken``)."""

    __slots__ = ("item", "leads", "taken", "woken")

    def __init__(self, item: T) -> None:
        self.item = item
        self.leads = False
        self.taken = False
        self.woken = anyio.Event()


class Lanes(Generic[T]):
    """A bounded queue in front of ``carry``.

    :param carry: carries some items, in order, until the moment (of the event loop's clock) that it is given; raises
        nothing, and writes into each item what has become of it. Nothing cancels it.
    :param lanes: how many batches are carried at a time.
    :param bound: how many items may wait.
    """

    def __init__(self, carry: Callable[[list[T], float], Awaitable[None]], *, lanes: int, bound: int) -> None:
        self._carry = carry
        self._free = lanes
        self._bound = bound
        self._waiting: deque[_Waiting[T]] = deque()

    async def run(self, item: T, deadline: float) -> None:
        """Return when ``item`` has been carried, or at the deadline while it is.

        Cancelled while it waits, it is not carried; cancelled later, it is all the same.

        :param deadline: moment of the event loop's clock.
        :raises TooMany: too many wait already.
        :raises Unavailable: nobody had time for it.
        """
        waiting = _Waiting(item)
        if self._free:
            self._free -= 1
            waiting.leads = True
        elif len(self._waiting) < self._bound:
            self._waiting.append(waiting)
        else:
            raise TooMany("too many submissions at a time")
        try:
            with anyio.move_on_after(deadline - anyio.current_time()):
                if not waiting.leads:
                    await waiting.woken.wait()
                if waiting.leads:
                    await self._lead(waiting, deadline)
        finally:
            if waiting.leads:
                self._pass_on()
            elif not waiting.taken:
                self._waiting.remove(waiting)
        if not waiting.taken:
            raise Unavailable("the broker doesn't keep up", submitted="no")

    async def _lead(self, first: _Waiting[T], deadline: float) -> None:
        more = min(len(self._waiting), _MOST - 1)
        batch = [first, *(self._waiting.popleft() for _ in range(more))]
        for waiting in batch:
            waiting.taken = True
        try:
            with anyio.CancelScope(shield=True):
                await self._carry([waiting.item for waiting in batch], deadline)
        finally:
            for waiting in batch:
                waiting.woken.set()

    def _pass_on(self) -> None:
        """Give the lane to whoever has waited longest."""
        if not self._waiting:
            self._free += 1
            return
        following = self._waiting.popleft()
        following.leads = True
        following.woken.set()
