"""How the publisher's thread works: wait for events, let some gather, append them, rest; again and again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from watcher.journal.layout import BATCH_EVENTS
from watcher.worker.publish.backlog import Backlog
from watcher.worker.publish.cpu_budget import CpuBudget
from watcher.worker.publish.sender import Sender
from watcher.worker.publish.wakeup import Wakeup

__all__ = ["CpuClock", "Rounds"]

logger = logging.getLogger("watcher")

#: A shorter wait than this, in seconds, is not worth falling asleep.
_SHORTEST: Final = 0.001
#: Seconds of CPU that a send is taken to need where that can't be measured.
_SEND: Final = 0.00015


class CpuClock:
    """What the publisher's thread uses of the CPU.

    ``maker`` is the native id of the thread that has started it, 0 before that.
    """

    def __init__(self) -> None:
        self.maker = 0
        self._used = 0.0

    def spent(self) -> float:
        """Seconds of CPU that this thread has used since the last call."""
        if threading.get_native_id() == self.maker:
            return _SEND  # under gevent it is a greenlet, and the clock is that of all tasks
        before, self._used = self._used, time.thread_time()
        return self._used - before


class Rounds:
    """The thread's work; only the thread calls :meth:`run`, once. Any thread may ring ``hurry`` and ``bell``.

    :param stopped: whether it is to end; whoever says so rings, and queues a mark.
    """

    def __init__(self, backlog: Backlog, sender: Sender, stopped: Callable[[], bool]) -> None:
        self._queue = backlog.queue
        self._backlog = backlog
        self._sender = sender
        self._stopped = stopped
        self._rested = False
        self.hurry = Wakeup()  # somebody waits for the outbox to be emptied
        self.bell = Wakeup()  # something came that is not to linger
        self.budget = CpuBudget()
        self.clock = CpuClock()

    def run(self) -> None:
        """Work until stopped."""
        while not self._stopped():
            try:
                self._round()
            except Exception:  # a thread that died would end all publishing of this process
                logger.exception("watcher: events were lost")
                self._sender.lose_all()

    def _round(self) -> None:
        sender, batches = self._sender, self._sender.batches
        first = batches.first()
        if self._stopped():
            return
        # Only where ends come can there be one soon: in a worker's main process there never is.
        if first is not None and batches.ends and not self._rested and not self.bell.rings:
            self.bell.wait(self.budget.linger)
        self.bell.hear()
        self._rested = False
        batches.collect(first)
        while not sender.deliver(self._rest) and not self._stopped():
            self.hurry.wait(sender.retry_in())
        if batches.marks and self._backlog.dropped:
            sender.tell_losses()  # no other event may come
        batches.ring_marks()
        self.budget.note(self.clock.spent(), time.monotonic(), ends=batches.ends)

    def _rest(self) -> None:
        """Let events gather before the next batch is made of them, unless there is one already."""
        rest, batches = self.budget.rest, self._sender.batches
        if rest >= _SHORTEST and len(batches.ready) == 1 and self._queue.qsize() < BATCH_EVENTS and not batches.marks:
            self.hurry.wait(rest)
            self._rested = True
