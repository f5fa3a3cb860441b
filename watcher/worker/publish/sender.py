"""Sends batches to the journal, and tells the log once what goes wrong meanwhile; for one thread at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from watcher.core.backoff import Backoff
from watcher.journal.layout import Record
from watcher.worker.publish.appender import BatchRefused, JournalAway
from watcher.worker.publish.backlog import Backlog
from watcher.worker.publish.batches import Batches

__all__ = ["RESEND", "Append", "Sender"]

logger = logging.getLogger("watcher")

#: Between two attempts to reach the journal.
RESEND: Final = Backoff(first=0.12, longest=1.2, spread=1 / 3)


class Append(Protocol):
    """What :meth:`watcher.worker.publish.appender.Appender.append` does."""

    def __call__(self, number: int, batch: Sequence[Record], meanwhile: Callable[[], None] | None) -> None:
        """Append ``batch``, all of it or nothing."""


class Sender:
    """Appends batches in their order.

    A batch that the journal can't take now is sent again before any other, under the same number; one that it refuses
    is lost. From the first failure until the journal takes events again the log is told twice: at the beginning, and
    at the end, with what was lost.

    :param append: appends one batch; raises JournalAway or BatchRefused.
    :param stopped: whether nothing is to be sent any more.
    """

    def __init__(self, append: Append, backlog: Backlog, stopped: Callable[[], bool]) -> None:
        self._append = append
        self._backlog = backlog
        self._stopped = stopped
        self._refused = 0
        self.batches = Batches(backlog)
        #: How many events were appended: whoever waits sees by it that something moves.
        self.appended = 0
        #: Since when the journal is away, by the monotonic clock; None while it isn't.
        self.away_since: float | None = None
        #: Attempts in vain since one has succeeded.
        self.failures = 0

    def deliver(self, meanwhile: Callable[[], None] | None) -> bool:
        """Append what is ready, oldest first; False where the journal can't take it now.

        :param meanwhile: called while an answer is on its way.
        """
        batches = self.batches
        while batches.ready and not self._stopped():
            number, records, _ = batches.ready[0]
            try:
                self._append(number, records, meanwhile)
            except JournalAway as error:
                self._outage(error)
                return False
            except BatchRefused as error:
                self._refusal(error, len(records))
            else:
                self.appended += len(records)
                self._success()
            batches.done()
        return True

    def retry_in(self) -> float:
        """Seconds until the next attempt, once one was in vain."""
        self.failures += 1
        return RESEND.seconds(self.failures - 1)

    def lose_all(self) -> None:
        """Give up on what is ready."""
        while self.batches.ready:
            self.batches.done()

    def tell_losses(self) -> None:
        """Tell the log what was lost, and begin anew."""
        dropped = self._backlog.take_dropped()
        seconds = time.monotonic() - self.away_since if self.away_since is not None else 0.0
        logger.warning(
            "watcher: publishing again after %.1f s; events lost: %d (buffer full: %d, refused: %d)",
            seconds, dropped + self._refused, dropped, self._refused,
        )  # fmt: skip
        self.away_since, self._refused = None, 0

    def _outage(self, error: JournalAway) -> None:
        if self.away_since is None:
            self.away_since = time.monotonic()
            logger.warning("watcher: can't publish for now, tasks go on: %s", error)

    def _refusal(self, error: BatchRefused, count: int) -> None:
        if not self._refused:
            logger.error("watcher: Redis refuses events, which are lost: %s", error)
        self._refused += count

    def _success(self) -> None:
        """The journal takes events: what went wrong before is over, and told once."""
        self.failures = 0
        backlog = self._backlog
        if self.away_since is not None or self._refused or (backlog.dropped and backlog.queue.empty()):
            self.tell_losses()
