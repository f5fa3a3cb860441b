"""What one client is subscribed to, and how far it has been fed. Pure, like the hub that it stands in front of.

A client is either *live*, and then the hub hands it each flush, or *behind*, and then it is fed from the history in
bounded pieces until it has caught up: after a recovery that did not fit into its reply, and after its connection could
not take any more. ``cursor`` says what a client that is behind has been given, over all its channels, and the floor of
a subscription what it had before. Being behind never loses anything that the history still has; where it hasn't, the
subscription is ended with a code on which clients subscribe again, and learn that they could not be recovered.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from watcher.centrifuge import messages
from watcher.core.event import OVERVIEW
from watcher.relay.stream.hub import Hub
from watcher.relay.websocket.records import NOTHING, SubscriptionQuota

__all__ = ["Subscriptions"]


class Subscriptions:
    """One client's subscriptions.

    :param hub: where it watches.
    :param outlet: what the hub knows it by, and hands its publications to.
    :param holder: who has them together with others; None where nobody counts.
    """

    __slots__ = ("_cursor", "_excused", "_floors", "_holder", "_hub", "_outlet", "live")

    def __init__(self, hub: Hub[Any], outlet: Any, holder: SubscriptionQuota | None = None) -> None:
        self._holder = holder
        self._hub = hub
        self._outlet = outlet
        self._floors: dict[str, int] = {}
        # Channels whose past, up to this offset, the client was told may have gaps: it isn't told again.
        self._excused: dict[str, int] = NOTHING
        self._cursor = 0
        self.live = True

    def __contains__(self, channel: str) -> bool:
        return channel in self._floors

    def __iter__(self) -> Iterator[str]:
        return iter(self._floors)

    def __len__(self) -> int:
        return len(self._floors)

    def add(self, channel: str, position: int, *, whole: bool) -> None:
        """A new subscription, which has been given everything up to the offset ``position``.

        :param whole: whether the client was told that nothing is missing before it.
        """
        newest = self._hub.history.last
        if self._holder is not None and channel not in self._floors:
            self._holder.hold(1)
        if not whole:
            if self._excused is NOTHING:
                self._excused = {}
            self._excused[channel] = newest
        if position >= newest and self.live:
            self._floors[channel] = position
            self._hub.watch(channel, self._outlet)
            return
        self.fall_behind()
        self._floors = {name: max(floor, self._cursor) for name, floor in self._floors.items()}
        self._floors[channel] = position
        self._cursor = min(self._cursor, position)

    def remove(self, channel: str) -> None:
        """End a subscription; nothing happens where there is none."""
        self._excused.pop(channel, None)
        if self._floors.pop(channel, None) is None:
            return
        if self._holder is not None:
            self._holder.hold(-1)
        if self.live:
            self._hub.unwatch(channel, self._outlet)

    def fall_behind(self) -> None:
        """Leave the live set; :meth:`catch_up` says from now on what is next. Nothing happens to one that has left."""
        if not self.live:
            return
        self.live = False
        self._cursor = self._hub.history.last
        for channel in self._floors:
            self._hub.unwatch(channel, self._outlet)

    def catch_up(self, limit: int) -> list[bytes]:
        """The next pushes for a client that is behind; it is live again once it has been given all.

        :param limit: how many bytes of events, about.
        """
        if self.live:
            return []
        pushes = self._drop_torn()
        piece = self._hub.history.since(self._floors, self._cursor, limit)
        for channel, run in groupby(piece.events, key=itemgetter(0)):
            pushes += messages.publications(channel, [(offset, line) for _, offset, line in run])
        self._cursor = piece.cursor
        if self._cursor >= self._hub.history.last:
            self._rejoin()
            if OVERVIEW in self._floors and self._hub.overview is not None:
                told = messages.state_push(OVERVIEW, self._hub.overview)
                pushes.append(told)  # the newest only: nothing is missed by what was passed over
        return pushes

    def restart(self, keeps: str | None = None) -> list[bytes]:
        """The journal is another one: end all subscriptions; returns the pushes that say so.

        :param keeps: a channel that goes on, because what is on it doesn't come from the journal alone.
        """
        kept = keeps is not None and keeps in self._floors
        pushes = [messages.unsubscribe_push(channel) for channel in self._floors if channel != keeps]
        self.clear()
        self.live = True
        if kept and keeps is not None:
            self.add(keeps, self._hub.history.last, whole=True)
        return pushes

    def clear(self) -> None:
        """End all subscriptions."""
        for channel in list(self._floors):
            self.remove(channel)

    def _drop_torn(self) -> list[bytes]:
        """End the subscriptions that the history can't continue."""
        pushes = []
        for channel, floor in list(self._floors.items()):
            covered = max(floor, self._cursor, self._excused.get(channel, 0))
            if channel != OVERVIEW and not self._hub.history.is_whole(channel, covered):
                self.remove(channel)
                pushes.append(messages.unsubscribe_push(channel))
        return pushes

    def _rejoin(self) -> None:
        self.live = True
        self._excused = NOTHING
        for channel in self._floors:
            self._hub.watch(channel, self._outlet)
