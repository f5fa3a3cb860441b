"""The newest events of the journal, without a hole, bounded in events and bytes: pure data."""

from __future__ import annotations

from collections.abc import Callable

from watcher.relay.stream.index import EventKey

__all__ = ["Window"]


class Window:
    """Lines, and beside each where it is found and its mark, by offset.

    The event at ``offset`` is at index ``start + offset - first`` of the three lists. What lies before ``start`` has
    left: it is cut off by and by, since to cut off each event would move all others.

    :param first: offset of the first event that comes.
    :param max_events: bound in events; it may be some dozens more, since they leave a few at a time.
    :param max_bytes: bound in bytes of lines, and some KiB.
    """

    __slots__ = (
        "_max_bytes", "_max_events", "_most_bytes", "_most_events", "first", "last", "lines", "marks", "places", "size",
        "start",
    )  # fmt: skip

    def __init__(self, first: int, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._most_events = max_events + min(max_events // 100, 100)
        self._most_bytes = max_bytes + min(max_bytes // 100, 64 * 1024)
        #: Offset of the oldest event, and of the newest one; it is empty where last < first.
        self.first = first
        self.last = first - 1
        self.lines: list[bytes] = []
        self.places: list[EventKey | None] = []  # of each line; None where it is no event
        self.marks = bytearray()
        self.start = 0
        self.size = 0  # bytes of lines

    def add(self, line: bytes, place: EventKey | None, mark: int) -> bool:
        """Add the next one; returns whether :meth:`trim` is to be called."""
        self.last += 1
        self.lines.append(line)
        self.places.append(place)
        self.marks.append(mark)
        self.size += len(line)
        return self.last - self.first >= self._most_events or self.size > self._most_bytes

    def trim(self, leave: Callable[[int, bytes, EventKey, int], None]) -> None:
        """Let go what is beyond the bounds, oldest first.

        :param leave: called with each event that has just left: its offset, line, place and mark.
        """
        lines, places, marks, start = self.lines, self.places, self.marks, self.start
        while self.last - self.first >= self._max_events or (self.size > self._max_bytes and self.first < self.last):
            line, place, mark = lines[start], places[start], marks[start]
            lines[start], places[start] = b"", None
            start += 1
            self.start = start
            self.first += 1
            self.size -= len(line)
            if place is not None:
                leave(self.first - 1, line, place, mark)
        if start > 1024 and start * 2 > len(lines):
            del lines[:start], places[:start], marks[:start]
            self.start = 0
