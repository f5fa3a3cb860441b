"""Carries items in batches that grow by themselves: one at a time while there is little to do, many under load.

There are a few lanes. Whoever finds a free one takes it, and all that is waiting along with its own item; at the end
the lane goes to whoever has waited longest. No task, no timer, no delay.

Addresses that have done much lately share a quarter of the lanes, in turn, with batches of their own, and short ones
while anybody else is there: who finds a lane, and waits for nobody's hundred.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio

from watcher.core.errors import TooMany, Unavailable
from watcher.relay.limits.fair_queue import FairSemaphore
from watcher.relay.limits.metering import UsageBill, bill, on_bill

__all__ = ["Batcher"]

T = TypeVar("T")

#: Most items of a batch, and of one of an address that has done much.
_MOST: Final = 100
_MOST_HEAVY: Final = 4


class _Waiting(Generic[T]):
    """An item, and whether it has a lane (``leads``) or somebody has taken it along (``taken``)."""

    __slots__ = ("bill", "item", "leads", "taken", "whose", "woken")

    def __init__(self, item: T) -> None:
        self.item = item
        self.bill = bill()
        self.whose = self.bill.heavy
        self.leads = False
        self.taken = False
        self.woken = anyio.Event()


class Batcher(Generic[T]):
    """A bounded queue in front of ``carry``.

    :param carry: carries some items, in order, until the moment (of the event loop's clock) that it is given; raises
        nothing, and writes into each item what has become of it. Nothing cancels it.
    :param lanes: how many batches are carried at a time.
    :param bound: how many items may wait; addresses that have done much have equal shares of it.
    """

    def __init__(self, carry: Callable[[list[T], float], Awaitable[None]], *, lanes: int, bound: int) -> None:
        self._carry = carry
        self._bound = bound
        self._slots: FairSemaphore[_Waiting[T]] = FairSemaphore(lanes, max(1, lanes // 4))

    async def run(self, item: T, deadline: float) -> None:
        """Return when ``item`` has been carried, or at the deadline while it is.

        Cancelled while it waits, it is not carried; cancelled later, it is all the same.

        :param deadline: moment of the event loop's clock.
        :raises TooMany: too many wait already.
        :raises Unavailable: nobody had time for it.
        """
        waiting = _Waiting(item)
        wait, among = self._slots.waiting(waiting.whose)
        if wait >= self._bound // among:
            raise TooMany("too many submissions at once")
        waiting.leads = self._slots.enter(waiting, waiting.whose)
        try:
            with anyio.move_on_after(deadline - anyio.current_time()):
                if not waiting.leads:
                    await waiting.woken.wait()
                if waiting.leads:
                    await self._lead(waiting, deadline)
        finally:
            if waiting.leads:
                self._pass_on(waiting.whose)
            elif not waiting.taken:
                self._slots.withdraw(waiting, waiting.whose)
        if not waiting.taken:
            raise Unavailable("the relay is overloaded", submitted="no")

    async def _lead(self, first: _Waiting[T], deadline: float) -> None:
        most = _MOST if first.whose is None or first.whose.alone else _MOST_HEAVY
        batch = [first, *self._slots.along(first.whose, most - 1)]
        for waiting in batch:
            waiting.taken = True
        together = UsageBill((account for waiting in batch for account in waiting.bill.accounts), paced=False)
        try:
            with anyio.CancelScope(shield=True), on_bill(together):
                await self._carry([waiting.item for waiting in batch], deadline)
        finally:
            for waiting in batch:
                waiting.woken.set()

    def _pass_on(self, whose: object | None) -> None:
        """Give the lane to whoever is next."""
        following = self._slots.leave(whose)
        if following is not None:
            following.leads = True
            following.woken.set()
