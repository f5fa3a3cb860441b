"""Events that have left the window, but are kept because their task needs them: pure data.

What holds:

- An event is kept while its task is unfinished, or has one in the window; of each rank the one that stands highest.
- So a task's events outside the window are few, and come first among its offsets.
- Whatever isn't kept is struck from the index of each channel that it was on, and noted there as lost.
"""

from __future__ import annotations

from array import array

from watcher.relay.stream.index import AGAIN, LATE, RANK, EventIndex, EventKey, KeptEvent, TaskIndex, stands
from watcher.relay.stream.window import Window

__all__ = ["RetainedEvents"]


class RetainedEvents:
    """The events of unfinished tasks outside the window.

    :param window: that they leave; ``index``: what leads to the events of both.
    """

    __slots__ = ("_index", "_window", "events")

    def __init__(self, window: Window, index: EventIndex) -> None:
        self._window = window
        self._index = index
        self.events: dict[int, KeptEvent] = {}  # ascending, since events leave the window in order

    def mark_of(self, offset: int) -> int:
        """The mark of an event that is here, in the window or outside."""
        window = self._window
        if offset >= window.first:
            return window.marks[window.start + offset - window.first]
        return self.events[offset].mark

    def leave(self, offset: int, line: bytes, event_key: EventKey, mark: int) -> None:
        """An event has left the window: keep it if its task needs it."""
        task_index = event_key.task_index
        if task_index[-1] != offset:
            if self.mark_of(task_index[task_index.index(offset) + 1]) & AGAIN:  # the next one says the same, and stays
                task_index.remove(offset)
                self._strike(event_key, 1, offset)
                return
        elif task_index.final is not False:
            self.events[offset] = KeptEvent(line, event_key, mark)
            self._forget(task_index)
            return
        self.events[offset] = KeptEvent(line, event_key, mark)
        self._replace(offset, mark, task_index)

    def _replace(self, offset: int, mark: int, task_index: TaskIndex) -> None:
        """Of a task's events outside the window the one that stands highest of each rank suffices."""
        for older in task_index:
            if older >= offset:
                return
            rival = self.events[older]
            if rival.mark & RANK == mark & RANK:
                # What was not late when it came stands no lower than what came before it.
                stands_higher = not mark & LATE or (
                    older != self._current(task_index) and stands(self.events[offset]) >= stands(rival)
                )
                self._lose(older if stands_higher else offset, task_index)
                return

    def _current(self, task_index: TaskIndex) -> int | None:
        """Offset of the event that made a task's current state."""
        return next((offset for offset in reversed(task_index) if not self.mark_of(offset) & LATE), None)

    def _lose(self, offset: int, task_index: TaskIndex) -> None:
        """One event goes, of a task that stays."""
        task_index.remove(offset)  # a task has few outside the window, and they come first
        if offset > task_index[-1]:
            task_index.event_key = None  # what the newest event's place leads to may be gone with it
        self._strike(self.events.pop(offset).event_key, 1, offset)

    def _forget(self, task_index: TaskIndex) -> None:
        """All events of a task go."""
        self._index.forget_task(task_index)
        gone: dict[EventKey, list[int]] = {}
        for offset in task_index:
            gone.setdefault(self.events[offset].event_key, []).append(offset)
        for event_key, offsets in gone.items():
            for offset in offsets:
                del self.events[offset]
            self._strike(event_key, len(offsets), offsets[-1])

    def _strike(self, event_key: EventKey, count: int, newest: int) -> None:
        """So many offsets of a place, up to ``newest``, lead nowhere any more.

        The work is paid for by the offsets struck before: it is constant on average.
        """
        task_index = event_key.task_index
        task_index.lost = max(task_index.lost, newest)
        for offsets in event_key.others:
            offsets.lost = max(offsets.lost, newest)
            offsets.dead += count
            if offsets.dead == len(offsets):
                self._index.forget_channel(offsets)
            elif offsets.dead > 32 and offsets.dead * 2 > len(offsets):
                first, events = self._window.first, self.events
                # In place: the tasks that are on the channel know it.
                offsets[:] = array("Q", [offset for offset in offsets if offset >= first or offset in events])
                offsets.dead = 0
