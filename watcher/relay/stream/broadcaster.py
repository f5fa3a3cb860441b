"""Takes events from the feed into the history, and out to the subscribers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio

from watcher.relay.common.stats import Stats
from watcher.relay.stream.fanout import fan_out, pieces
from watcher.relay.stream.history import History
from watcher.relay.stream.hub import Hub
from watcher.relay.stream.snapshot import JournalSnapshot

__all__ = ["Broadcaster"]

logger = logging.getLogger(__name__)

#: Most bytes that a flush hands a client at once: so a client that can't take them is noticed soon.
_PIECE: Final = 256 * 1024
#: Seconds to wait for the relay to reach an offset; it is usually behind by milliseconds.
_LAG: Final = 1.0


class Broadcaster:
    """Where the feed leads: a :class:`.feed.Sink`.

    There is no await between a publish and its flush, so nobody can subscribe in between.

    :param source: what the journal's stream is called, for the log.
    :param disturbed: told why events may be late from now on; None: no longer.
    :param clients: who is connected; they learn of another journal even where they watch nothing.
    """

    def __init__(
        self,
        hub: Hub[Any],
        counts: Stats,
        source: str,
        *,
        disturbed: Callable[[str | None], None],
        clients: Callable[[], Sequence[Any]],
    ) -> None:
        self._hub = hub
        self._counts = counts
        self._source = source
        self._clients = clients
        self._grown = anyio.Event()
        self.disturb = disturbed
        self.loaded = anyio.Event()
        #: Whether a journal was read whole since somebody has last set it to False.
        self.restarted = False

    @property
    def history(self) -> History:
        """What was handed over so far."""
        return self._hub.history

    def restart(self, snapshot: JournalSnapshot) -> None:
        """Take a whole journal; who watched the one before is told."""
        subscribers = self._hub.subscribers().union(self._clients())
        self._hub.reset(snapshot.epoch, snapshot.first)
        for offset, line in snapshot.retained:
            self.history.keep(offset, line)
        self._count_invalid(self._hub.publish(snapshot.lines))
        self._hub.flush()  # nobody is handed this: they are told to ask
        for subscriber in subscribers:
            subscriber.restart()
        self.loaded.set()
        self.restarted = True
        self._grow()

    def extend(self, lines: Sequence[bytes]) -> None:
        """Take the next events, and hand each subscriber what it watches, once."""
        hub, counts = self._hub, self._counts
        counts.events += len(lines)
        for piece in pieces(lines, _PIECE):
            if hub.waiting() + sum(map(len, piece)) > _PIECE:
                fan_out(hub.flush(), counts)
            self._count_invalid(hub.publish(piece))
        fan_out(hub.flush(), counts)
        self._grow()

    async def reached(self, epoch: str, offset: int) -> None:
        """Wait, not for long, until the history has reached an offset of the journal."""
        history = self.history
        with anyio.move_on_after(_LAG):
            while history.epoch == epoch and history.last < offset:
                await self._grown.wait()

    def _grow(self) -> None:
        self._grown.set()
        self._grown = anyio.Event()

    async def grown(self) -> None:
        """Wait for the next events, or for another journal."""
        await self._grown.wait()

    def _count_invalid(self, count: int) -> None:
        if count:
            self._counts.invalid += count
            logger.warning("ignored %d invalid entries of %s", count, self._source)
