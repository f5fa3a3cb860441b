"""Events as an async iterator: of one channel or of several, each event once, bounded in memory."""

from __future__ import annotations

import copy
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, TypeAlias

import anyio
import msgspec

from watcher.centrifuge.client_messages import ChannelPosition, ReceivedPublication, Subscribed
from watcher.client.errors import EventsLost, RelayError, TaskLost
from watcher.client.models import TaskEvent
from watcher.client.subscriptions import ChannelListener, ClientSubscriptions
from watcher.client.wait import GRACE, EventPeek, known_task
from watcher.core.event import InvalidEvent, decode, is_final

__all__ = ["Watch"]

#: What is kept for a reader that is slower than the events, in events and in bytes. What comes then is left with the
#: relay, and asked for when the reader has caught up.
_EVENTS: Final = 4096
_BYTES: Final = 4 * 1024 * 1024
_ALL: Final = "tasks"

OnGap: TypeAlias = Callable[[EventsLost], None]


class _Feed:
    """What has come and was not read yet. It knows nothing of who reads it, so that a reader can be forgotten."""

    def __init__(self, channels: ClientSubscriptions) -> None:
        self.channels = channels
        self.taps: list[_Tap] = []
        self.items: deque[TaskEvent | EventsLost] = deque()
        self.bytes = 0
        self.error: RelayError | None = None
        self.stirred = anyio.Event()

    @property
    def full(self) -> bool:
        return len(self.items) >= _EVENTS or self.bytes >= _BYTES

    @property
    def ended(self) -> bool:
        """Whether all that it listens to has ended: it can only be so with tasks."""
        return all(tap.ended for tap in self.taps)

    def put(self, item: TaskEvent | EventsLost) -> None:
        self.items.append(item)
        self.bytes += len(item.line) if isinstance(item, TaskEvent) else 0
        self.stirred.set()

    def pop(self) -> TaskEvent | EventsLost:
        item = self.items.popleft()
        self.bytes -= len(item.line) if isinstance(item, TaskEvent) else 0
        if not self.items:
            for tap in self.taps:
                if tap.behind:
                    self.channels.resume(tap.channel, tap)
        return item

    def abandon(self) -> None:
        """Nobody reads it any more; may be called from any thread, as whoever collects garbage does."""
        for tap in self.taps:
            tap.abandoned = True


class _Tap(ChannelListener):
    """One channel's events on their way into a feed, those that an earlier tap brings too left out."""

    def __init__(self, feed: _Feed, channel: str, since: ChannelPosition | None) -> None:
        super().__init__(since)
        self.channel = channel
        self.is_task = channel.startswith("task:")
        self.ended = False
        self.unknown = False
        self._feed = feed
        self._elders = tuple(feed.taps)
        self._floor: ChannelPosition | None = None

    def carries(self, epoch: str, offset: int, names: Sequence[str]) -> bool:
        """Whether an event comes by this tap."""
        floor = self._floor
        return self.channel in names and floor is not None and floor.epoch == epoch and floor.offset < offset

    def accept(self, reply: Subscribed) -> None:
        if self._floor is None or self._floor.epoch != reply.epoch:
            before = self.position
            past = before is not None and before.epoch in ("", reply.epoch)
            begin = before.offset if before is not None and past else 0 if before is not None else reply.offset
            self._floor = ChannelPosition(reply.epoch, begin)
        super().accept(reply)

    def on_event(self, epoch: str, publication: ReceivedPublication) -> bool:
        if self._feed.full:
            return False
        line = bytes(publication.data)
        self.unknown = False
        event = msgspec.json.decode(line, type=EventPeek) if self.is_task else None
        if self.ended and event is not None and event.late:
            return True  # it happened before the end, which is to be the last that is told of a task
        if not self._is_double(epoch, publication.offset, line):
            self._feed.put(TaskEvent(self.channel, epoch, publication.offset, line))
        if event is not None and is_final(event.state) and not event.late:
            self._end()
        return True

    def _is_double(self, epoch: str, offset: int, line: bytes) -> bool:
        if not self._elders:
            return False
        try:
            names = [_ALL, *decode(line).channels()]
        except InvalidEvent:
            return False  # of a later version: better twice than not at all
        return any(elder.carries(epoch, offset, names) for elder in self._elders)

    def on_known(self, reply: Subscribed) -> None:
        if not self.is_task or self.ended:
            return
        task = known_task(reply)
        self.unknown = task is None
        # The event that ended it is gone, or there never was one; or it is yet to come, as the rest of a long answer.
        if task is not None and is_final(task[1].state) and not self.behind and task[1].offset <= reply.offset:
            self._feed.put(TaskEvent(self.channel, reply.epoch, task[1].offset, task[0]))
            self._end()
        self._feed.stirred.set()

    def _end(self) -> None:
        self.ended = True
        self._feed.stirred.set()

    def on_gap(self) -> None:
        if not self.is_task:  # what a task has come to is told whole, whatever of its way is gone
            self._feed.put(EventsLost(self.channel))

    def on_lost(self) -> None:
        self.unknown = False

    def on_error(self, error: RelayError) -> None:
        if not self.ended:
            self._feed.error = error
            self._feed.stirred.set()


class Watch:
    """The events of some channels, in the order in which they come; ``async for event in watch``.

    It listens from the moment when it is made. Where it watches tasks only, it ends when all of them have ended; else
    it goes on until it is left (``break``, ``aclose``), cancelled, or raises. A reader that is slower than the events
    loses nothing: 4,096 of them are kept here, and what comes then is fetched from the relay's history later. It is
    safe to cancel, and to go on reading after that; it is for one reader at a time.

    :param since: where to begin; None is the present.
    :param on_gap: called where events are gone, and then it goes on; without it EventsLost is raised.
    """

    def __init__(
        self, channels: ClientSubscriptions, names: Sequence[str], since: ChannelPosition | None = None,
        *, on_gap: OnGap | None = None, token: str | None = None,
    ) -> None:  # fmt: skip
        self._feed = _Feed(channels)
        self._on_gap = on_gap
        self._closed = False
        for name in dict.fromkeys(names):
            tap = _Tap(self._feed, name, since)
            self._feed.taps.append(tap)
        for tap in self._feed.taps:
            channels.join(tap.channel, tap, token)
        weakref.finalize(self, self._feed.abandon)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskEvent:
        """The next event.

        :raises EventsLost: events are gone, and there is no ``on_gap``. What follows can be read all the same.
        :raises TaskLost: a task is watched that nobody knows.
        :raises RelayError: a channel may not be watched, or there is no connection to be had any more.
        """
        feed = self._feed
        while not self._closed:
            if feed.items:
                item = feed.pop()
                if isinstance(item, TaskEvent):
                    return item
                if self._on_gap is None:
                    raise item
                self._on_gap(item)
            elif feed.error is not None:
                raise copy.copy(feed.error)
            elif feed.ended:
                await self.aclose()
            else:
                await self._more()
        raise StopAsyncIteration

    async def _more(self) -> None:
        feed = self._feed
        unknown = [tap for tap in feed.taps if tap.unknown]
        with anyio.move_on_after(GRACE if unknown else None) as grace:
            await feed.stirred.wait()
            feed.stirred = anyio.Event()
        if grace.cancelled_caught:
            for tap in unknown:
                if tap.unknown:
                    raise TaskLost(tap.channel.partition(":")[2])

    async def aclose(self) -> None:
        """Listen no more; reading on ends at once."""
        self._closed = True
        for tap in self._feed.taps:
            self._feed.channels.leave(tap.channel, tap)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
