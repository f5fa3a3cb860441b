"""Blocking calls in worker threads, with a limit that holds.

A call that is given up on goes on in its thread: nothing can end it. anyio frees its place at once, so that calls into
something that hangs would pile up one thread each. Here the place is free again when the call has returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """Runs blocking calls.

    :param limit: how many may run at a time, those that were given up on included.
    """

    def __init__(self, limit: int) -> None:
        self._places = anyio.CapacityLimiter(limit)
        self._threads = anyio.CapacityLimiter(math.inf)  # the places are what limits

    async def run(self, call: Callable[[], T], seconds: float) -> T:
        """Call ``call`` in a thread, and return what it returns.

        Cancellation gives up on the call, as the time-out does.

        :param seconds: for waiting for a place, and for the call.
        :raises TimeoutError: it has not returned by then, and may or may not have begun.
        """
        place = _Place(call, self._places)
        with anyio.fail_after(seconds):
            await self._places.acquire_on_behalf_of(place)
            try:
                return await anyio.to_thread.run_sync(place.use, abandon_on_cancel=True, limiter=self._threads)
            finally:
                place.leave()


class _Place(Generic[T]):
    """One call's place: given back by its thread where that has begun, else by who wanted it."""

    def __init__(self, call: Callable[[], T], places: anyio.CapacityLimiter) -> None:
        self._call = call
        self._places = places
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._begun = False
        self._left = False

    def use(self) -> T:
        with self._lock:
            if self._left:
                raise TimeoutError
            self._begun = True
        try:
            return self._call()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for a place any more
                self._loop.call_soon_threadsafe(self._places.release_on_behalf_of, self)

    def leave(self) -> None:
        with self._lock:
            if self._begun:
                return
            self._left = True
        self._places.release_on_behalf_of(self)
