"""Blocking calls in worker threads, with a limit that holds.

An abandoned call continues in its thread: nothing can end it. anyio frees its slot at once, so calls into something
that hangs would pile up threads. Here a slot is freed only when the call has returned.

Addresses that have used much processor time lately share a quarter of the slots in turn, so others find one free. While
others are active, these slots also rest between calls: a thread that computes blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import anyio
import anyio.to_thread

from watcher.relay.limits.fair_queue import FairSemaphore
from watcher.relay.limits.metering import UsageBill, bill

__all__ = ["BoundedThreads", "ThreadsBusy"]

T = TypeVar("T")

#: Longest rest of a slot, in seconds, after a call of a busy address; it rests for as long as the call took.
_PAUSE: Final = 0.2


class ThreadsBusy(TimeoutError):
    """Others had the slots all the time: the call has not begun, and won't. What they call does return."""


class BoundedThreads:
    """Runs blocking calls in threads, and charges their time to the current bill.

    :param limit: most calls at a time, abandoned ones included.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slots: FairSemaphore[_Place[Any]] = FairSemaphore(limit, max(1, limit // 4))
        self._threads = anyio.CapacityLimiter(math.inf)  # the slots are the limit
        self._returned = 0

    @property
    def running(self) -> int:
        """Number of slots in use."""
        return self._limit - self._slots.free

    async def run(self, call: Callable[[], T], seconds: float) -> T:
        """Run ``call`` in a thread, and return its result.

        Cancellation abandons the call, as does the time-out.

        :param seconds: time for waiting for a slot and for the call.
        :raises ThreadsBusy: no slot was free in time, though others' calls returned.
        :raises TimeoutError: the call has not returned in time, it may or may not have begun; or nobody's has.
        """
        slot = _Place(call, bill(), self._free)
        returned = self._returned
        try:
            with anyio.fail_after(seconds):
                if not self._slots.enter(slot, slot.whose):
                    await slot.admitted.wait()
                else:
                    slot.admitted.set()
                return await anyio.to_thread.run_sync(slot.use, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError:
            if slot.admitted.is_set() or returned == self._returned:
                raise
            raise ThreadsBusy from None
        finally:
            if not slot.admitted.is_set():
                self._slots.withdraw(slot, slot.whose)
            else:
                slot.leave()

    def _free(self, whose: object | None) -> None:
        self._returned += 1
        following = self._slots.leave(whose)
        if following is not None:
            following.admitted.set()


class _Place(Generic[T]):
    """The slot of one call, freed by its thread if that has begun, else by the caller."""

    def __init__(self, call: Callable[[], T], of: UsageBill, free: Callable[[object | None], None]) -> None:
        self._call = call
        self._bill = of
        self._free = free
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._begun = False
        self._left = False
        self.whose = of.heavy
        self.admitted = anyio.Event()

    def use(self) -> T:
        with self._lock:
            if self._left:
                raise TimeoutError
            self._begun = True
        start = time.thread_time()
        try:
            return self._call()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for a place any more
                self._loop.call_soon_threadsafe(self._done, time.thread_time() - start)

    def _done(self, seconds: float) -> None:
        self._bill.spend(seconds)
        if self.whose is None or self.whose.alone:
            self._free(self.whose)
        else:  # the others have the interpreter for as long
            self._loop.call_later(min(seconds, _PAUSE), self._free, self.whose)

    def leave(self) -> None:
        with self._lock:
            if self._begun:
                return
            self._left = True
        self._free(self.whose)
