"""What the relay keeps of the journal: the newest events as bytes, and where to find each channel's and each task's.

Pure data: no I/O, no await. Events are kept in two parts. The *window* (:mod:`.window`) holds the newest ones, without
a hole, bounded in events and bytes. What leaves the window is *retained* (:mod:`.retained`) one by one while its task
is unfinished or still has an event in the window, so that a task can always be told whole; the newest event of each
rank suffices for that. An *index* (:mod:`.index`) leads to the events of both, by task and by channel.

A task is not stored: it is folded from its events when somebody asks, which costs less than keeping 100,000 of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import groupby
from typing import Final, NamedTuple

from watcher.core.event import Event, InvalidEvent, Task, decode, task_of
from watcher.relay.stream.index import AGAIN, EventIndex, EventKey, KeptEvent, TaskIndex
from watcher.relay.stream.retained import RetainedEvents
from watcher.relay.stream.window import Window

__all__ = ["ALL", "History", "Piece", "Stretch"]

#: The channel that carries every event.
ALL: Final = "tasks"
#: Events passed over between two None of a walk: a millisecond or two.
_PASSED: Final = 1000


class Piece(NamedTuple):
    """Part of what a client missed: ``(channel, offset, line)`` in order, and the offset up to which it is whole."""

    events: list[tuple[str, int, bytes]]
    cursor: int


class Stretch(NamedTuple):
    """Some events that follow each other, the first at the offset ``first``; what was none has no bytes.

    It may be read in another thread.
    """

    first: int
    lines: list[bytes]
    event_keys: list[EventKey | None]
    marks: bytes

    @property
    def last(self) -> int:
        """Offset of the last one."""
        return self.first + len(self.lines) - 1

    def telling(self) -> list[tuple[int, bytes]]:
        """Each event with its offset; of many reports of a task in a row only the first and the last."""
        events: list[tuple[int, bytes] | None] = []
        reports: dict[str, int] = {}
        for offset, (line, key, mark) in enumerate(
            zip(self.lines, self.event_keys, self.marks, strict=True), self.first
        ):
            if key is None:
                continue
            task = key.task_index.task
            if mark & AGAIN:
                before = reports.get(task)
                if before is not None:
                    events[before] = None
                reports[task] = len(events)
            else:
                reports.pop(task, None)
            events.append((offset, line))
        return [event for event in events if event is not None]


class History:
    """The newest events and the unfinished tasks.

    :param max_events: bound of the window, in events; it may be some dozens more, since they leave a few at a time.
    :param max_bytes: bound of the window, in bytes of lines, and some KiB.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.epoch = ""
        #: Epoch and newest offset of the journal before this one; None where there was none.
        self.ended: tuple[str, int] | None = None
        self.reset("", 1)

    def reset(self, epoch: str, first: int) -> None:
        """Forget everything; the next event has the offset ``first`` in ``epoch``."""
        if self.epoch and epoch != self.epoch:
            self.ended = self.epoch, self.last
        self.epoch = epoch
        self.window = Window(first, self._max_events, self._max_bytes)
        self._index = EventIndex(first)
        self._retained = RetainedEvents(self.window, self._index)

    def __len__(self) -> int:
        return self.last - self.first + 1

    @property
    def first(self) -> int:
        """Offset of the oldest event in the window; greater than ``last`` where it is empty."""
        return self.window.first

    @property
    def last(self) -> int:
        """Offset of the newest event."""
        return self.window.last

    @property
    def size(self) -> int:
        """Size of the window, in bytes of lines."""
        return self.window.size

    @property
    def retained(self) -> int:
        """How many events of unfinished tasks are kept beside the window."""
        return len(self._retained.events)

    # What comes in.

    def keep(self, offset: int, line: bytes) -> None:
        """Restore an older event of an unfinished task, after :meth:`reset`, in ascending order of offsets.

        Events that the window is going to hold are passed over, as are lines that are no events, and the second of two
        at one place.
        """
        retained = self._retained.events
        if offset >= self.first or offset in retained:
            return
        try:
            event = decode(line)
        except InvalidEvent:
            return
        event_key = self._index.enter(event, offset)
        retained[offset] = KeptEvent(line, event_key, event_key.task_index.note(event))

    def append(self, line: bytes) -> tuple[str, ...]:
        """Add the next event; returns its channels, :data:`ALL` excepted.

        :raises InvalidEvent: the line is none. It took its offset all the same, and is not handed to anybody.
        """
        window = self.window
        try:
            event = decode(line)
        except InvalidEvent:
            if window.add(b"", None, 0):
                window.trim(self._retained.leave)
            raise
        event_key = self._index.enter(event, window.last + 1)
        if window.add(line, event_key, event_key.task_index.note(event)):
            window.trim(self._retained.leave)
        return event_key.channels

    # What is asked.

    def line(self, offset: int) -> bytes | None:
        """The event at ``offset``, or None where it is gone (or was none)."""
        window = self.window
        if window.first <= offset <= window.last:
            return window.lines[window.start + offset - window.first] or None
        retained = self._retained.events.get(offset)
        return None if retained is None else retained.line

    def stretch(self, after: int, limit: int) -> Stretch:
        """The window's events that follow on an offset, ``limit`` at most."""
        window = self.window
        first = max(after + 1, window.first)
        part = slice(window.start + first - window.first, window.start + first - window.first + limit)
        return Stretch(first, window.lines[part], window.event_keys[part], bytes(window.marks[part]))

    def kept_lines(self) -> list[tuple[int, bytes]]:
        """The events of unfinished tasks before the window, ascending by offset."""
        return [(offset, event.line) for offset, event in self._retained.events.items()]

    def is_whole(self, channel: str, after: int) -> bool:
        """Whether every event that ``channel`` had after offset ``after`` is still here."""
        if after > self.last:
            return False
        if channel == ALL:
            return after >= self.first - 1
        return after >= self._index.lost(channel)

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
            for offset, retained in reversed(self._retained.events.items()):
                if before is None or offset < before:
                    yield offset, retained.line

    def has(self, channel: str) -> bool:
        """Whether an event of a channel is here."""
        return self._index.of(channel) is not None

    def task(self, task_id: str) -> Task | None:
        """What is known of a task, or None where nothing is."""
        return task_of(self._events(task_id))

    def state(self, task_id: str) -> Event | None:
        """The event that made a task's current state: the newest one that the journal's script did not mark as late."""
        offsets: Sequence[int] = self._index.tasks.get(task_id) or ()
        for offset in reversed(offsets):
            event = decode(self.line(offset) or b"")
            if not event.late:
                return event
        return None

    def events_of(self, task_id: str) -> list[Event]:
        """The events of a task that are kept, oldest first: those of earlier runs and lives, too."""
        return [event for _, event in self._events(task_id)]

    def tasks(self, channel: str, limit: int) -> list[Task]:
        """The tasks of a channel, the one with the newest event first, at most ``limit``."""
        task_ids: dict[str, None] = {}
        for offset in reversed(self._offsets(channel)):
            if (event_key := self._key_of(offset)) is not None:
                task_ids[event_key.task_index.task] = None
                if len(task_ids) >= limit:
                    break
        return [task for task_id in task_ids if (task := self.task(task_id)) is not None]

    def walk(
        self, channels: Sequence[str], before: int | None, sees: Callable[[EventKey], bool] | None = None
    ) -> Iterator[tuple[int, Task | None] | None]:
        """The events of some channels, newest first, each with its task where it is the task's newest one of these.

        Now and then it yields None while it passes over events, so that the caller can let others run: the history may
        grow meanwhile without effect on what follows. After a :meth:`reset` begin anew.

        :param before: offset that the events lie before; None for the start.
        :param sees: which events there are for whoever asks; all where it is None.
        """
        last, walked, passed = self.last, frozenset(channels), 0

        def carries(event_key: EventKey) -> bool:
            if ALL not in walked and walked.isdisjoint(
                offsets.channel for offsets in (event_key.task_index, *event_key.others)
            ):
                return False
            return sees is None or sees(event_key)

        for offset in self._downwards(channels, last if before is None else min(last, before - 1)):
            event_key = self._key_of(offset)
            if event_key is not None and carries(event_key):
                newest = self._is_newest(event_key.task_index, offset, last, carries)
                yield offset, self.task(event_key.task_index.task) if newest else None
                continue
            passed += 1
            if passed % _PASSED == 0:
                yield None

    def _downwards(self, channels: Sequence[str], top: int) -> Iterator[int]:
        """The offsets of some channels from ``top`` on, descending, each once, as they are now."""
        if ALL in channels:
            first = self.first
            yield from range(min(top, self.last), first - 1, -1)
            yield from (offset for offset in reversed(list(self._retained.events)) if offset <= top and offset < first)
            return
        listed = [array("Q", offsets) for channel in channels if (offsets := self._index.of(channel)) is not None]
        streams = [
            map(channel_offsets.__getitem__, range(bisect_right(channel_offsets, top) - 1, -1, -1))
            for channel_offsets in listed
        ]
        yield from (offset for offset, _ in groupby(merge(*streams, reverse=True)))

    def _key_of(self, offset: int) -> EventKey | None:
        """The key of the event at an offset; None where it is gone, or was none."""
        window = self.window
        if window.first <= offset <= window.last:
            return window.event_keys[window.start + offset - window.first]
        retained = self._retained.events.get(offset)
        return None if retained is None else retained.event_key

    def _is_newest(self, task_index: TaskIndex, offset: int, last: int, carries: Callable[[EventKey], bool]) -> bool:
        """Whether no later event of the task, up to ``last``, is carried; not each is on all of the task's channels."""
        for later in reversed(task_index):
            if later == offset:
                return True
            if later <= last and (event_key := self._key_of(later)) is not None and carries(event_key):
                return False
        return False

    def _offsets(self, channel: str) -> array[int] | range:
        if channel == ALL:
            return range(self.window.first, self.window.last + 1)
        return self._index.of(channel) or range(0)

    def _pairs(self, channel: str, after: int) -> Iterator[tuple[int, str]]:
        offsets = self._offsets(channel)
        start = bisect_right(offsets, after)  # passing over all before it one by one would take a millisecond
        return ((offsets[index], channel) for index in range(start, len(offsets)))

    def _events(self, task_id: str) -> Iterator[tuple[int, Event]]:
        """A task's events, oldest first, of many reports in a row only the first and the last."""
        offsets: Sequence[int] = self._index.tasks.get(task_id, ())
        mark_of = self._retained.mark_of
        for index, offset in enumerate(offsets):
            between = 0 < index < len(offsets) - 1
            if between and mark_of(offset) & mark_of(offsets[index + 1]) & AGAIN:
                continue
            yield offset, decode(self.line(offset) or b"")
