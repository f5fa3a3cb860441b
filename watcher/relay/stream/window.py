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
        "_max_bytes", "_max_events", "_most_bytes", "_most_events", "event_keys", "first", "last", "lines", "marks",
        "size", "start",
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
        self.event_keys: list[EventKey | None] = []  # of each line; None where it is no event
        self.marks = bytearray()
        self.start = 0
        self.size = 0  # bytes of lines

    def add(self, line: bytes, event_key: EventKey | None, mark: int) -> bool:
        """Add the next one; returns whether :meth:`trim` is to be called."""
        self.last += 1
        self.lines.append(line)
        self.event_keys.append(event_key)
        self.marks.append(mark)
        self.size += len(line)
        return self.last - self.first >= self._most_events or self.size > self._most_bytes

    def trim(self, leave: Callable[[int, bytes, EventKey, int], None]) -> None:
        """Let go what is beyond the bounds, oldest first.

        :param leave: called with each event that has just left: its offset, line, place and mark.
        """
        lines, event_keys, marks, start = self.lines, self.event_keys, self.marks, self.start
        while self.last - self.first >= self._max_events or (self.size > self._max_bytes and self.first < self.last):
            line, event_key, mark = lines[start], event_keys[start], marks[start]
            lines[start], event_keys[start] = b"", None
            start += 1
            self.start = start
            self.first += 1
            self.size -= len(line)
            if event_key is not None:
                leave(self.first - 1, line, event_key, mark)
        if start > 1024 and start * 2 > len(lines):
            del lines[:start], event_keys[:start], marks[:start]
            self.start = 0
