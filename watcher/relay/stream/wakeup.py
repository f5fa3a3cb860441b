"""What a request waits on: rung by the hub when something has happened on a channel."""

from __future__ import annotations

import anyio

__all__ = ["ChannelWakeup"]


class ChannelWakeup:
    """A subscriber of the hub that only learns that there are events; it reads them from the history."""

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def deliver(self, _data: bytes) -> int:
        """The hub has events of a channel. Nothing is written: the history knows better what there is."""
        self._rung.set()
        return 0

    def restart(self) -> None:
        """The journal is another one, or the relay stops."""
        self._rung.set()

    async def wait(self) -> None:
        """Wait until it is rung, or has been since the last wait; safe to cancel."""
        await self._rung.wait()
        self._rung = anyio.Event()
