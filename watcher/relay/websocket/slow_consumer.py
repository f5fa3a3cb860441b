"""A slow consumer: a client that takes less than its subscriptions bring.

A client whose outbound buffer is full leaves the fan-out. It is fed from the history instead, one bounded piece at a
time and only while the buffer has room, until it has caught up. :class:`watcher.relay.websocket.subscriptions.
Subscriptions` keeps the cursor and reads the pieces; here is when they are sent, and when a client is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from watcher.centrifuge.frames import PIECE
from watcher.relay.common.stats import Stats
from watcher.relay.websocket.subscriptions import Subscriptions

__all__ = ["HIGH_WATER", "SlowConsumer"]

#: Bytes in a client's outbound buffer from which on the client is behind, and isn't handed more.
HIGH_WATER: Final = 256 * 1024
#: Seconds without a byte taken after which a client is given up.
_STALLED: Final = 60.0


class SlowConsumer:
    """One client that is behind: made when it first is, since most never are.

    :param subscriptions: the client's.
    :param counts: of the relay; what is sent here is added.
    :param has_room: whether the client is there, and can be sent more.
    :param write: sends messages to it.
    """

    __slots__ = ("_counts", "_has_room", "_progress", "_scheduled", "_since", "_subscriptions", "_write")

    def __init__(
        self,
        subscriptions: Subscriptions,
        counts: Stats,
        has_room: Callable[[], bool],
        write: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._subscriptions = subscriptions
        self._counts = counts
        self._has_room = has_room
        self._write = write
        self._scheduled = False  # whether the next piece is on its way
        self._progress: tuple[int, int] | None = None
        self._since = 0.0  # since when it has made no progress, by the event loop's clock

    def schedule(self) -> None:
        """Send the next piece in the event loop's next turn, if the client is still behind and can take one."""
        if not self._scheduled and not self._subscriptions.live and self._has_room():
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._feed)

    def _feed(self) -> None:
        self._scheduled = False
        if self._has_room():
            pushes = self._subscriptions.catch_up(PIECE)
            self._counts.writes += bool(pushes)
            self._counts.delivered += len(pushes)
            self._write(pushes)
            self.schedule()

    def forget_progress(self) -> None:
        """Begin anew to watch whether the client takes anything."""
        self._progress = None

    def is_stalled(self, waiting: int, acknowledged: int, now: float) -> bool:
        """Whether the client has taken no byte for too long; to be asked now and then.

        :param waiting: bytes that wait to be sent to it.
        :param acknowledged: bytes that its side has acknowledged; 0 where nobody knows.
        :param now: the event loop's time, in seconds.
        """
        progress = (waiting, acknowledged)
        if progress != self._progress:
            self._progress, self._since = progress, now
            return False
        return now - self._since > _STALLED
