"""The channel ``overview``: what holds now of all tasks, told to whoever watches it when it has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

from watcher.centrifuge import messages
from watcher.centrifuge.frames import frame
from watcher.core.event import OVERVIEW
from watcher.relay.stream.hub import Hub

__all__ = ["OverviewChannel"]

#: Seconds.
_EVERY: Final = 1.0


class OverviewChannel:
    """One value for everybody: it is looked up once, however many ask, and not while nobody does.

    :param look: the value of now; it may take its time.
    :param every: shortest time between two looks, and so between two pushes, in seconds.
    """

    def __init__(self, hub: Hub[Any], look: Callable[[], Awaitable[Any]], every: float = _EVERY) -> None:
        self._hub = hub
        self._look = look
        self._every = every
        self._looking = anyio.Lock()
        self._at = float("-inf")

    async def now(self) -> Any:
        """The value, not older than a second; all who watch the channel have been told of it.

        Safe to cancel.
        """
        async with self._looking:
            if anyio.current_time() - self._at >= self._every:
                value = await self._look()
                self._at = anyio.current_time()
                if value != self._hub.overview:
                    self._tell(value)
            return self._hub.overview

    async def run(self) -> None:
        """Tell of changes until cancelled."""
        while True:
            await anyio.sleep(max(self._every / 10, self._at + self._every - anyio.current_time()))
            if self._hub.watching(OVERVIEW):
                await self.now()

    def _tell(self, value: Any) -> None:
        self._hub.overview = value
        data = frame(messages.state_push(OVERVIEW, value))
        for subscriber in self._hub.watching(OVERVIEW):
            subscriber.deliver(data)
