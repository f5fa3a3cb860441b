"""The subscribers of each channel, and the events that each of them gets.

Pure data: no I/O, no await, so nothing can come between a check and the update that depends on it. Events come in by
:meth:`Hub.publish`; :meth:`Hub.flush`, called once for all that one read from Redis brought, says who gets what. Under
load the reads bring more and the batches grow by themselves; there is no timer and no delay.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from watcher.core.event import InvalidEvent
from watcher.relay.stream.history import ALL, History

__all__ = ["Handed", "Hub", "Publications"]

Subscriber = TypeVar("Subscriber", bound=Hashable)


class Publications:
    """Events of one channel, oldest first, on their way to each of its subscribers.

    ``frame`` is the outlets' place for what they make of it: built once, the same bytes for everybody.
    """

    __slots__ = ("channel", "events", "frame")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.events: list[tuple[int, bytes]] = []
        self.frame: bytes | None = None


#: What some subscribers are handed alike: of each channel that all of them watch its events.
Handed: TypeAlias = tuple[Sequence[Publications], Sequence[Subscriber]]


class Hub(Generic[Subscriber]):
    """The subscribers of each channel, in front of the history.

    A subscriber is whatever can be a key; the hub only hands it back.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._watching: dict[str, dict[Subscriber, None]] = {}
        self._dirty: dict[str, Publications] = {}
        #: What holds now on the channel that has no events, for whoever could not take it; None before it is known.
        self.overview: Any = None

    def watch(self, channel: str, subscriber: Subscriber) -> bool:
        """Hand ``subscriber`` the channel's events from the next publish on; returns whether it is the first there.

        Not to be called between :meth:`publish` and :meth:`flush`, which one caller does in one go.
        """
        subscribers = self._watching.setdefault(channel, {})
        subscribers[subscriber] = None
        return len(subscribers) == 1

    def unwatch(self, channel: str, subscriber: Subscriber) -> bool:
        """Hand ``subscriber`` nothing more of the channel; returns whether it was the last there."""
        subscribers = self._watching.get(channel)
        if subscribers is None or subscriber not in subscribers:
            return False
        del subscribers[subscriber]
        if subscribers:
            return False
        del self._watching[channel]
        return True

    def watching(self, channel: str) -> list[Subscriber]:
        """Those who are handed what is on a channel."""
        return list(self._watching.get(channel, ()))

    def publish(self, lines: Iterable[bytes]) -> int:
        """Add the next events of the journal; returns how many lines were skipped since they are no events."""
        invalid, history, watching, dirty = 0, self.history, self._watching, self._dirty
        window = history.window
        for line in lines:
            try:
                channels = history.append(line)
            except InvalidEvent:
                invalid += 1
                continue
            for channel in (ALL, *channels):
                if channel in watching:
                    publications = dirty.get(channel)
                    if publications is None:
                        publications = dirty[channel] = Publications(channel)
                    publications.events.append((window.last, line))
        return invalid

    def waiting(self) -> int:
        """Bytes of events that the next flush has for one channel, at most."""
        return max([sum([len(line) for _, line in flush.events]) for flush in self._dirty.values()], default=0)

    def flush(self) -> Sequence[Handed[Subscriber]]:
        """What was published since the last flush, and who watches some of it; each subscriber is there once."""
        dirty, self._dirty = self._dirty, {}
        handed: list[Handed[Subscriber]] = []
        together: set[Subscriber] = set()
        count = 0
        for channel, publications in dirty.items():
            watching = self.watching(channel)
            count += len(watching)
            if len(dirty) > 1:
                together.update(watching)
            handed.append(((publications,), watching))
        return handed if len(dirty) == 1 or count == len(together) else self._handed_together(dirty)

    def _handed_together(self, dirty: Mapping[str, Publications]) -> Sequence[Handed[Subscriber]]:
        """The same where some watch several channels: those who watch the same ones are handed the same."""
        parts: dict[Subscriber, tuple[Publications, ...]] = {}
        for channel, publications in dirty.items():
            for subscriber in self._watching.get(channel, ()):
                parts[subscriber] = (*parts.get(subscriber, ()), publications)
        alike: dict[tuple[Publications, ...], list[Subscriber]] = {}
        for subscriber, whole in parts.items():
            alike.setdefault(whole, []).append(subscriber)
        return list(alike.items())

    def reset(self, epoch: str, first: int) -> None:
        """The journal is another one now: forget the history. Who watches what stays, and is the caller's to tell."""
        self._dirty = {}
        self.history.reset(epoch, first)

    def subscribers(self) -> set[Subscriber]:
        """Everyone who watches something."""
        return {subscriber for subscribers in self._watching.values() for subscriber in subscribers}
