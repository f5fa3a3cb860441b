"""The events that wait in one process, and their size: shared by those who put events and the sender."""

from __future__ import annotations

import threading
from typing import TypeAlias

from watcher.core.event import Event
from watcher.worker.publish.concurrency import Queue, new_queue
from watcher.worker.publish.wakeup import Wakeup

__all__ = ["Backlog", "Item"]

#: An event on its way, and its weight. A plain tuple: making one of a class takes longer than queueing it.
Item: TypeAlias = tuple[Event, int]


class Backlog:
    """A queue, and the bytes of all events that have left it or not, but are not appended yet.

    ``size`` and ``dropped`` change under ``lock`` only. It is reentrant, as a signal handler may strike while it is
    held. Each event that is put is added to ``size`` once, and subtracted once: when it was appended or refused, when a
    newer report has taken its place, or where it can't be sent.

    :param bound: bytes of events that may wait.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.lock = threading.RLock()
        #: Events, and between them marks: a mark is rung when everything before it is appended.
        self.queue: Queue[Item | Wakeup] = new_queue()
        self.size = 0
        self.dropped = 0

    def forget(self, size: int) -> None:
        """Subtract the bytes of events that no longer wait."""
        with self.lock:
            self.size -= size

    def take_dropped(self) -> int:
        """How many events were dropped since the last call."""
        with self.lock:
            dropped, self.dropped = self.dropped, 0
        return dropped
