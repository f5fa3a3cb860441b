"""Events that were queued become batches with a number; for one sender at a time."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from queue import Empty
from typing import Final, NamedTuple

import msgspec

from watcher.core.event import FINAL_STATES, Event, encode
from watcher.core.order import rank, standing
from watcher.journal.layout import BATCH_EVENTS, Record, batches
from watcher.worker.publish.backlog import Backlog, Item
from watcher.worker.publish.throttle import ProgressThrottle
from watcher.worker.publish.wakeup import Wakeup

__all__ = ["Batches", "ReadyBatch"]

logger = logging.getLogger("watcher")

_PROGRESS: Final = rank("PROGRESS")


class ReadyBatch(NamedTuple):
    """Records that are appended together; ``weight`` is that of their events."""

    number: int
    records: Sequence[Record]
    weight: int


class Batches:
    """What was taken from the backlog and is not appended yet.

    Numbers ascend by one, in the order in which the events were put; of a task's reports only some are sent, as
    :class:`.throttle.ProgressThrottle` says. A batch stays the first of ``ready`` until the sender takes it off.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._throttle: ProgressThrottle[Item] = ProgressThrottle()
        self._number = 0
        self._told_unsendable = False
        self.ready: deque[ReadyBatch] = deque()
        #: Of those who wait until all that came before is appended.
        self.marks: list[Wakeup] = []
        #: Whether the end of a task was among what was collected last.
        self.ends = False

    def first(self) -> Item | Wakeup | None:
        """Wait for the next item; None when a report that was kept back is due before."""
        due = self._throttle.next_due()
        try:
            return self._backlog.queue.get(timeout=None if due is None else max(due - time.monotonic(), 0))
        except Empty:
            return None

    def collect(self, item: Item | Wakeup | None) -> None:
        """Move ``item`` and what is queued behind it to where batches wait to be sent."""
        items: list[Item] = []
        queue, throttle = self._backlog.queue, self._throttle
        with suppress(Empty):
            while len(items) < BATCH_EVENTS:
                item = item or queue.get_nowait()
                if isinstance(item, tuple) and throttle.idle and rank(item[0].state) != _PROGRESS:
                    items.append(item)  # as nearly all do, so the rest of what may be is not looked at
                else:
                    items += self._passed(item)
                item = None
        items += throttle.due(time.monotonic())
        self.ends = any(event.state in FINAL_STATES for event, _ in items)
        records = [(record, size) for event, size in items if (record := self._record(event, size)) is not None]
        sizes = iter([size for _, size in records])
        for batch in batches([record for record, _ in records]):
            self._number += 1
            self.ready.append(ReadyBatch(self._number, batch, sum(islice(sizes, len(batch)))))

    def done(self) -> None:
        """The first batch has been appended, or never will be."""
        self._backlog.forget(self.ready.popleft().weight)

    def ring_marks(self) -> None:
        """Everything collected is appended, or lost: wake those who wait for it."""
        for mark in self.marks:
            mark.ring()
        self.marks.clear()

    def _record(self, event: Event, size: int) -> Record | None:
        try:
            return Record(event.id, standing(event), encode(event))
        except (msgspec.MsgspecError, ValueError):  # a name with half a character in it, say
            if not self._told_unsendable:
                self._told_unsendable = True
                logger.exception("watcher: events are missing, of task %s first", ascii(event.id)[:100])
            self._backlog.forget(size)
            return None

    def _passed(self, item: Item | Wakeup) -> Sequence[Item]:
        """The events that ``item`` lets pass."""
        if isinstance(item, Wakeup):
            self.marks.append(item)
            return self._throttle.release_all()
        event, _ = item
        if rank(event.state) != _PROGRESS:
            delayed = self._throttle.release(event.id)
            return (item,) if delayed is None else (delayed, item)
        passed, replaced = self._throttle.offer(event.id, item, time.monotonic())
        if replaced is not None:
            self._backlog.forget(replaced[1])
        return () if passed is None else (passed,)
