"""What the relay keeps of the journal: the newest events as bytes, and where to find each channel's and each task's.

Pure data: no I/O, no await. Events are kept in two parts. The *window* holds the newest ones, without a hole, bounded
in events and bytes. What leaves the window is *kept* one by one while its task is unfinished or still has an event in
the window, so that a task can always be told whole; the newest event of each rank suffices for that.

A task is not stored: it is folded from its events when somebody asks, which costs less than keeping 100,000 of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import groupby
from typing import Final, NamedTuple

from watcher.core.event import CHANNEL_LIMIT, Event, InvalidEvent, Task, decode, task_of
from watcher.relay.stream.index import AGAIN, LATE, RANK, ChannelIndex, EventKey, KeptEvent, TaskIndex, stands
from watcher.relay.stream.lost_offsets import LostOffsets

__all__ = ["ALL", "History", "Piece"]

#: The channel that carries every event.
ALL: Final = "tasks"
#: After so many events that are passed over, a walk says so: that takes a millisecond or two.
_PASSED: Final = 1000


class Piece(NamedTuple):
    """Part of what a client missed: ``(channel, offset, line)`` in order, and the offset up to which it is whole."""

    events: list[tuple[str, int, bytes]]
    cursor: int


class History:
    """The newest events and the unfinished tasks.

    :param max_events: bound of the window, in events; it may be some dozens more, since they leave a few at a time.
    :param max_bytes: bound of the window, in bytes of lines, and some KiB.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._most_events = max_events + min(max_events // 100, 100)
        self._most_bytes = max_bytes + min(max_bytes // 100, 64 * 1024)
        self.reset("", 1)

    def reset(self, epoch: str, first: int) -> None:
        """Forget everything; the next event has the offset ``first`` in ``epoch``."""
        self.epoch = epoch
        #: Offset of the oldest event in the window, and of the newest one; the window is empty where last < first.
        self.first = first
        self.last = first - 1
        self._lines: list[bytes] = []
        self._places: list[EventKey | None] = []  # of each line; None where it is no event
        self._marks = bytearray()
        self._start = 0  # index of the window's oldest line: what lies before it has left and is cut off by and by
        self._bytes = 0
        self._kept: dict[int, KeptEvent] = {}  # ascending, since events leave the window in order
        self._stories: dict[str, TaskIndex] = {}  # by task
        self._index: dict[str, ChannelIndex] = {}  # by every other channel
        self._lost = LostOffsets(first - 1)  # of channels that have no events here

    def __len__(self) -> int:
        return self.last - self.first + 1

    @property
    def size(self) -> int:
        """Size of the window, in bytes of lines."""
        return self._bytes

    @property
    def kept(self) -> int:
        """How many events of unfinished tasks are kept beside the window."""
        return len(self._kept)

    # What comes in.

    def keep(self, offset: int, line: bytes) -> None:
        """Restore an older event of an unfinished task, after :meth:`reset`, in ascending order of offsets.

        Events that the window is going to hold are passed over, as are lines that are no events, and the second of two
        at one place.
        """
        if offset >= self.first or offset in self._kept:
            return
        try:
            event = decode(line)
        except InvalidEvent:
            return
        place = self._enter(event, offset)
        self._kept[offset] = KeptEvent(line, place, place.story.note(event))

    def append(self, line: bytes) -> tuple[str, ...]:
        """Add the next event; returns its channels, :data:`ALL` excepted.

        :raises InvalidEvent: the line is none. It took its offset all the same, and is not handed to anybody.
        """
        self.last += 1
        try:
            event = decode(line)
        except InvalidEvent:
            self._add(b"", None, 0)
            raise
        place = self._enter(event, self.last)
        self._add(line, place, place.story.note(event))
        return place.channels

    # What is asked.

    def line(self, offset: int) -> bytes | None:
        """The event at ``offset``, or None where it is gone (or was none)."""
        if self.first <= offset <= self.last:
            return self._lines[self._start + offset - self.first] or None
        kept = self._kept.get(offset)
        return None if kept is None else kept.line

    def is_whole(self, channel: str, after: int) -> bool:
        """Whether every event that ``channel`` had after offset ``after`` is still here."""
        if after > self.last:
            return False
        if channel == ALL:
            return after >= self.first - 1
        offsets = self._offsets_of(channel)
        if offsets is not None and offsets.lost:
            return after >= offsets.lost
        return after >= self._lost.newest(channel)

    def since(self, floors: Mapping[str, int], cursor: int, limit: int) -> Piece:
        """The next events of some channels, oldest first.

        :param floors: channel → offset after which its events are wanted.
        :param cursor: offset after which events are wanted of any channel.
        :param limit: bytes of lines after which the piece ends; one event is always in it where there is one.
        """
        streams = [self._pairs(channel, max(cursor, floor)) for channel, floor in floors.items()]
        events: list[tuple[str, int, bytes]] = []
        size = 0
        for offset, channel in merge(*streams):
            # A piece ends between offsets only: an event on two channels is not torn apart.
            if size >= limit and offset != events[-1][1]:
                return Piece(events, events[-1][1])
            line = self.line(offset)
            if line is not None:
                events.append((channel, offset, line))
                size += len(line)
        return Piece(events, self.last)

    def newest(self, channel: str, before: int | None = None) -> Iterator[tuple[int, bytes]]:
        """The events of a channel, newest first, from the one before offset ``before`` on."""
        offsets = self._offsets(channel)
        end = len(offsets) if before is None else bisect_left(offsets, before)
        for index in range(end - 1, -1, -1):
            line = self.line(offsets[index])
            if line is not None:
                yield offsets[index], line
        if channel == ALL:
            for offset in reversed(self._kept):
                if before is None or offset < before:
                    yield offset, self._kept[offset].line

    def has(self, channel: str) -> bool:
        """Whether an event of a channel is here."""
        return self._offsets_of(channel) is not None

    def task(self, identity: str) -> Task | None:
        """What is known of a task, or None where nothing is."""
        return task_of(self._events(identity))

    def state(self, identity: str) -> Event | None:
        """The event that made a task's current state: the newest one that the journal's script did not mark as late."""
        offsets: Sequence[int] = self._stories.get(identity) or ()
        for offset in reversed(offsets):
            event = decode(self.line(offset) or b"")
            if not event.late:
                return event
        return None

    def told(self, identity: str) -> list[Event]:
        """The events of a task that are kept, oldest first: those of earlier runs and lives, too."""
        return [event for _, event in self._events(identity)]

    def tasks(self, channel: str, limit: int) -> list[Task]:
        """The tasks of a channel, the one with the newest event first, at most ``limit``."""
        found: dict[str, None] = {}
        for offset in reversed(self._offsets(channel)):
            if (place := self._place_of(offset)) is not None:
                found[place.story.task] = None
                if len(found) >= limit:
                    break
        return [task for identity in found if (task := self.task(identity)) is not None]

    def walk(
        self, channels: Sequence[str], before: int | None, sees: Callable[[EventKey], bool] | None = None
    ) -> Iterator[tuple[int, Task | None] | None]:
        """The events of some channels, newest first, each with its task where it is the task's newest one of these.

        What is passed over is not answered, but now and then there is a None: the history may grow before one goes on,
        which changes nothing of what follows. After a :meth:`reset` begin anew.

        :param before: offset that the events lie before; None for the start.
        :param sees: which events there are for whoever asks; all where it is None.
        """
        last, walked, passed = self.last, frozenset(channels), 0

        def carries(place: EventKey) -> bool:
            if ALL not in walked and walked.isdisjoint(each.channel for each in (place.story, *place.others)):
                return False
            return sees is None or sees(place)

        for offset in self._downwards(channels, last if before is None else min(last, before - 1)):
            place = self._place_of(offset)
            if place is not None and carries(place):
                newest = self._is_newest(place.story, offset, last, carries)
                yield offset, self.task(place.story.task) if newest else None
                continue
            passed += 1
            if passed % _PASSED == 0:
                yield None

    def _downwards(self, channels: Sequence[str], top: int) -> Iterator[int]:
        """The offsets of some channels from ``top`` on, descending, each once, as they are now."""
        if ALL in channels:
            first = self.first
            yield from range(min(top, self.last), first - 1, -1)
            yield from (offset for offset in reversed(list(self._kept)) if offset <= top and offset < first)
            return
        listed = [array("Q", offsets) for channel in channels if (offsets := self._offsets_of(channel)) is not None]
        streams = [map(each.__getitem__, range(bisect_right(each, top) - 1, -1, -1)) for each in listed]
        yield from (offset for offset, _ in groupby(merge(*streams, reverse=True)))

    def _place_of(self, offset: int) -> EventKey | None:
        """Where the event at an offset is found; None where it is gone, or was none."""
        if self.first <= offset <= self.last:
            return self._places[self._start + offset - self.first]
        kept = self._kept.get(offset)
        return None if kept is None else kept.place

    def _is_newest(self, story: TaskIndex, offset: int, last: int, carries: Callable[[EventKey], bool]) -> bool:
        """Whether no later event of the task, up to ``last``, is carried; not each is on all of the task's channels."""
        for later in reversed(story):
            if later == offset:
                return True
            if later <= last and (place := self._place_of(later)) is not None and carries(place):
                return False
        return False

    # How it is kept.

    def _enter(self, event: Event, offset: int) -> EventKey:
        """Note down where an event is to be found. Most are on the channels of their task's event before."""
        story = self._stories.get(event.id)
        if story is None:
            story = self._stories[event.id] = TaskIndex.of(event.id)
        key = (event.root_id, event.group_id, event.name, event.tags)
        place = story.place
        if place is None or place.key != key:
            others = event.channels()[1:]
            place = story.place = EventKey(story, key, tuple([self._channel(other) for other in others]))
        story.append(offset)
        for offsets in place.others:
            offsets.append(offset)
        return place

    def _channel(self, channel: str) -> ChannelIndex:
        offsets = self._index.get(channel)
        if offsets is None:
            offsets = self._index[channel] = ChannelIndex.of(channel)
        return offsets

    def _add(self, line: bytes, place: EventKey | None, mark: int) -> None:
        self._lines.append(line)
        self._places.append(place)
        self._marks.append(mark)
        self._bytes += len(line)
        if self.last - self.first >= self._most_events or self._bytes > self._most_bytes:
            self._let_go()

    def _offsets(self, channel: str) -> array[int] | range:
        if channel == ALL:
            return range(self.first, self.last + 1)
        return self._offsets_of(channel) or range(0)

    def _offsets_of(self, channel: str) -> ChannelIndex | None:
        kind, _, name = channel.partition(":")
        return self._stories.get(name) if kind == "task" else self._index.get(channel)

    def _pairs(self, channel: str, after: int) -> Iterator[tuple[int, str]]:
        offsets = self._offsets(channel)
        start = bisect_right(offsets, after)  # passing over all before it one by one would take a millisecond
        return ((offsets[index], channel) for index in range(start, len(offsets)))

    def _events(self, identity: str) -> Iterator[tuple[int, Event]]:
        """A task's events, oldest first, of many reports in a row only the first and the last."""
        offsets: Sequence[int] = self._stories.get(identity, ())
        for index, offset in enumerate(offsets):
            between = 0 < index < len(offsets) - 1
            if between and self._mark_of(offset) & self._mark_of(offsets[index + 1]) & AGAIN:
                continue
            yield offset, decode(self.line(offset) or b"")

    def _mark_of(self, offset: int) -> int:
        if offset >= self.first:
            return self._marks[self._start + offset - self.first]
        return self._kept[offset].mark

    def _let_go(self) -> None:
        """What is beyond the bounds leaves the window: it is kept if its task needs it, else lost."""
        lines, places, marks, start = self._lines, self._places, self._marks, self._start
        while self.last - self.first >= self._max_events or (self._bytes > self._max_bytes and self.first < self.last):
            line, place, mark = lines[start], places[start], marks[start]
            lines[start], places[start] = b"", None
            start += 1
            self._start = start
            self.first += 1
            self._bytes -= len(line)
            if place is not None:
                self._leave(self.first - 1, line, place, mark)
        if start > 1024 and start * 2 > len(lines):
            del lines[:start], places[:start], marks[:start]
            self._start = 0

    def _leave(self, offset: int, line: bytes, place: EventKey, mark: int) -> None:
        """The event at ``offset`` is not in the window any more."""
        story = place.story
        if story[-1] != offset:
            if self._mark_of(story[story.index(offset) + 1]) & AGAIN:  # the next one says the same, and stays
                story.remove(offset)
                self._strike(place, 1, offset)
                return
        elif story.final is not False:
            self._kept[offset] = KeptEvent(line, place, mark)
            self._forget(story)
            return
        self._kept[offset] = KeptEvent(line, place, mark)
        self._replace(offset, mark, story)

    def _replace(self, offset: int, mark: int, story: TaskIndex) -> None:
        """Of a task's events outside the window the one that stands highest of each rank suffices."""
        for older in story:
            if older >= offset:
                return
            kept = self._kept[older]
            if kept.mark & RANK == mark & RANK:
                # What was not late when it came stands no lower than what came before it.
                stands_higher = not mark & LATE or (
                    older != self._current(story) and stands(self._kept[offset]) >= stands(kept)
                )
                self._lose(older if stands_higher else offset, story)
                return

    def _current(self, story: TaskIndex) -> int | None:
        """Offset of the event that made a task's current state."""
        return next((offset for offset in reversed(story) if not self._mark_of(offset) & LATE), None)

    def _lose(self, offset: int, story: TaskIndex) -> None:
        """One event goes, of a task that stays."""
        story.remove(offset)  # a task has few outside the window, and they come first
        if offset > story[-1]:
            story.place = None  # what the newest event's place leads to may be gone with it
        self._strike(self._kept.pop(offset).place, 1, offset)

    def _forget(self, story: TaskIndex) -> None:
        """All events of a task go."""
        del self._stories[story.task]
        self._remember(story, story[-1])
        story.place = None  # no cycle, so that all of it is freed at once
        gone: dict[EventKey, list[int]] = {}
        for offset in story:
            gone.setdefault(self._kept[offset].place, []).append(offset)
        for place, offsets in gone.items():
            for offset in offsets:
                del self._kept[offset]
            self._strike(place, len(offsets), offsets[-1])

    def _strike(self, place: EventKey, count: int, newest: int) -> None:
        """So many offsets of a place, up to ``newest``, lead nowhere any more.

        The work is paid for by the offsets struck before: it is constant on average.
        """
        story = place.story
        story.lost = max(story.lost, newest)
        for offsets in place.others:
            offsets.lost = max(offsets.lost, newest)
            offsets.dead += count
            if offsets.dead == len(offsets):
                del self._index[offsets.channel]
                self._remember(offsets, offsets.lost)
            elif offsets.dead > 32 and offsets.dead * 2 > len(offsets):
                # In place: the tasks that are on the channel know it.
                offsets[:] = array("Q", [each for each in offsets if each >= self.first or each in self._kept])
                offsets.dead = 0

    def _remember(self, offsets: ChannelIndex, lost: int) -> None:
        """A channel has no events any more: what it lost is remembered."""
        if len(offsets.channel) <= CHANNEL_LIMIT:  # what nobody can watch nobody will ask for
            self._lost.note(offsets.channel, lost)
