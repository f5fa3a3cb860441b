"""What one process has yet to publish: a bounded queue, and the thread that empties it into the journal in batches.

A task's thread never waits for Redis here, and a signal handler, a finalizer or a soft time limit may strike anywhere:
so the lock that it takes is reentrant and guards a few counters, and ``put`` of the queue may be entered again while it
runs. A forked child makes an outbox of its own: a lock may be held by a thread that it lacks. Thread, locks and queue
are those of the moment when it is made, which is that of the process's first event: see
:mod:`watcher.worker.publish.concurrency`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from queue import Empty
from typing import Final, Protocol, TypeAlias

import msgspec

from watcher.core.backoff import Backoff
from watcher.core.event import FINAL_STATES, Event, encode, weight
from watcher.core.order import rank, standing
from watcher.journal.layout import BATCH_EVENTS, Record, batches
from watcher.worker.publish.appender import BatchRefused, JournalAway
from watcher.worker.publish.concurrency import Queue, new_queue
from watcher.worker.publish.cpu_budget import CpuBudget
from watcher.worker.publish.throttle import Throttle
from watcher.worker.publish.wakeup import Wakeup

__all__ = ["RESEND", "HurriedOutbox", "Outbox"]

logger = logging.getLogger("watcher")

#: Whoever waits for the outbox to be emptied gives up when nothing was appended for this long, in seconds.
PATIENCE: Final = 0.25
_PROGRESS: Final = rank("PROGRESS")
#: A shorter wait than this, in seconds, is not worth falling asleep.
_SHORTEST: Final = 0.001
#: Seconds of CPU that a send is taken to need where that can't be measured.
_SEND: Final = 0.00015
#: How often who sends by itself looks whether others have put something meanwhile.
_INLINE_ROUNDS: Final = 3
#: Seconds that who sends a task may wait until that is appended, if it has to.
_WAIT: Final = 0.5
#: Seconds in which nobody waits for a journal that has just kept somebody waiting in vain.
_IMPATIENCE: Final = 10.0
#: Between two attempts to reach the journal …
RESEND: Final = Backoff(first=0.12, longest=1.2, spread=1 / 3)
#: … and so many times as long where each of them keeps a task waiting.
_INLINE_REST: Final = 10


#: An event on its way, and its weight. A plain tuple: making one of a class takes longer than queueing it.
_Item: TypeAlias = tuple[Event, int]


class Append(Protocol):
    """What :meth:`watcher.worker.publish.appender.Appender.append` does."""

    def __call__(self, number: int, batch: Sequence[Record], meanwhile: Callable[[], None] | None) -> None: ...


class Outbox:
    """The events that one process has yet to append, in order.

    :param append: appends one batch; raises JournalAway or BatchRefused.
    :param bound: bytes of events that may wait; the newest is dropped when there are more, and counted.
    :param threaded: False where no thread can run: then each :meth:`put` sends by itself, and after a failure no other
        does for a while, so that what ``append`` may take is taken rarely. The same while no thread can be started.
    :param be_brief: told before the sends whether somebody waits for them.
    """

    def __init__(
        self,
        append: Append,
        *,
        bound: int,
        threaded: bool = True,
        be_brief: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._append = append
        self._bound = bound
        self._threaded = threaded
        self._be_brief = be_brief
        self._new_lock = threading.Lock
        self._lock = threading.RLock()
        self._queue: Queue[_Item | Wakeup] = new_queue()
        self._hurry = Wakeup()  # somebody waits for the outbox to be emptied
        self._bell = Wakeup()  # something came that is not to linger
        self._thread: threading.Thread | None = None
        self._claimed = False
        self._stopped = False
        self._bytes = 0
        self._dropped = 0
        # From here on the thread's own, or of whoever sends inline and holds this lock.
        self._sending = threading.Lock()
        self._throttle: Throttle[_Item] = Throttle()
        self._pace = CpuBudget()
        self._maker = 0
        self._used = 0.0
        self._rested = False
        self._ends = False
        self._pending: deque[tuple[int, Sequence[Record], int]] = deque()  # with the weight of all
        self._marks: list[Wakeup] = []
        self._number = 0
        self._appended = 0
        self._refused = 0
        self._away_since: float | None = None
        self._unsendable = False  # it was told that there are such events
        self._failures = 0  # since an attempt has succeeded
        self._not_before = -math.inf

    def put(self, event: Event) -> None:
        """Queue an event, or drop it where the bound is reached.

        Its line is made by the thread: many in a row take less time than each between a task and the next.
        """
        size = weight(event)
        with self._lock:
            if self._bytes + size > self._bound:
                self._dropped += 1
                return
            self._bytes += size
            self._queue.put((event, size))
            inline = self._thread is None and not self._start()
        if inline:
            self._send_inline()
        elif event.state in FINAL_STATES:
            self._bell.ring()

    def flush(self, timeout: float, patience: float = PATIENCE) -> bool:
        """Wait until all that is queued by now is appended, and tell whether it is.

        It gives up after ``timeout`` seconds, and already when nothing was appended for ``patience`` seconds, or for
        250 ms where the journal was away before.
        """
        if not self._bytes:
            return True
        done = Wakeup(self._new_lock)
        with self._lock:
            self._queue.put(done)
            inline = self._thread is None
        if inline:
            self._not_before = -math.inf
            self._send_inline()
            return not self._bytes
        self._hurry.ring()
        self._bell.ring()
        patience = patience if self._away_since is None else PATIENCE
        end = time.monotonic() + timeout
        seen = self._appended
        while not done.wait(max(min(patience, end - time.monotonic()), 0)):
            if self._appended == seen or time.monotonic() >= end:
                return False
            seen = self._appended
        return True

    def stop(self) -> None:
        """End the thread; what is still queued is lost. It may yet be in a call of ``append`` for its time-out."""
        with self._lock:
            self._stopped = True
            self._queue.put(Wakeup(self._new_lock))
        self._hurry.ring()
        self._bell.ring()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def abandon(self) -> None:
        """What is in it is another process's to send: its greenlet came along with a fork, and is to leave it alone."""
        self._stopped = True
        self._queue.put(Wakeup(self._new_lock))

    def unsent(self) -> int:
        """Bytes of events that wait, about."""
        return self._bytes

    def _start(self) -> bool:
        """Start the thread, and tell whether there is one."""
        if not self._threaded:
            return False
        self._maker = threading.get_native_id()
        thread = threading.Thread(target=self._run, name="watcher-publisher", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or the process may have no more of them
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        with self._lock:
            # There may be another thread: a soft time limit that strikes in _start leaves one that nobody knows.
            if self._claimed:
                return
            self._claimed = True
        self._sending.acquire()  # for good: nobody else sends from here on
        self._be_brief(False)
        while not self._stopped:
            try:
                self._round()
            except Exception:  # a thread that died would end all publishing of this process
                logger.exception("watcher: events were lost")
                self._lose_pending()

    def _round(self) -> None:
        """Wait for records, append them, rest."""
        first = self._first()
        if self._stopped:
            return
        # Only where ends come can there be one soon: in a worker's main process there never is.
        if first is not None and self._ends and not self._rested and not self._bell.rings:
            self._bell.wait(self._pace.linger)
        self._bell.hear()
        self._rested = False
        self._collect(first)
        while not self._deliver(self._rest) and not self._stopped:
            self._hurry.wait(RESEND.seconds(self._failures))
            self._failures += 1
        if self._marks and self._dropped:
            self._tell()  # no other event may come
        for mark in self._marks:
            mark.ring()
        self._marks.clear()
        self._pace.note(self._spent(), time.monotonic(), ends=self._ends)

    def _spent(self) -> float:
        """Seconds of CPU that this thread has used since the last call."""
        if threading.get_native_id() == self._maker:
            return _SEND  # under gevent it is a greenlet, and the clock is that of all tasks
        before, self._used = self._used, time.thread_time()
        return self._used - before

    def _rest(self) -> None:
        """Let events gather before the next batch is made of them, unless there is one already."""
        rest = self._pace.rest
        if rest >= _SHORTEST and len(self._pending) == 1 and self._queue.qsize() < BATCH_EVENTS and not self._marks:
            self._hurry.wait(rest)
            self._rested = True

    def _send_inline(self) -> None:
        # What is put meanwhile, by a signal handler or another greenlet, is left to the one that sends.
        for _ in range(_INLINE_ROUNDS):
            if self._queue.empty() and not self._pending:
                return
            if time.monotonic() < self._not_before or not self._sending.acquire(blocking=False):
                return
            try:
                self._be_brief(True)
                self._collect(None)
                self._marks.clear()
                if not self._deliver(None):
                    self._not_before = time.monotonic() + RESEND.seconds(self._failures) * _INLINE_REST
                    self._failures += 1
            finally:
                self._sending.release()

    def _first(self) -> _Item | Wakeup | None:
        """Wait for the next item; None when a report that was kept back is due before."""
        due = self._throttle.next_due()
        try:
            return self._queue.get(timeout=None if due is None else max(due - time.monotonic(), 0))
        except Empty:
            return None

    def _collect(self, item: _Item | Wakeup | None) -> None:
        """Move ``item`` and what is queued behind it to where batches wait to be sent."""
        items: list[_Item] = []
        with suppress(Empty):
            while len(items) < BATCH_EVENTS:
                item = item or self._queue.get_nowait()
                if isinstance(item, tuple) and self._throttle.idle and rank(item[0].state) != _PROGRESS:
                    items.append(item)  # as nearly all do, so the rest of what may be is not looked at
                else:
                    items += self._passed(item)
                item = None
        items += self._throttle.due(time.monotonic())
        self._ends = any(event.state in FINAL_STATES for event, _ in items)
        told = [(record, size) for event, size in items if (record := self._record(event, size)) is not None]
        sizes = iter([size for _, size in told])
        for batch in batches([record for record, _ in told]):
            self._number += 1
            self._pending.append((self._number, batch, sum(islice(sizes, len(batch)))))

    def _record(self, event: Event, size: int) -> Record | None:
        try:
            return Record(event.id, standing(event), encode(event))
        except (msgspec.MsgspecError, ValueError):  # a name with half a character in it, say
            if not self._unsendable:
                self._unsendable = True
                logger.exception("watcher: events are missing, of task %s first", ascii(event.id)[:100])
            self._forget(size)
            return None

    def _passed(self, item: _Item | Wakeup) -> Sequence[_Item]:
        """The events that ``item`` lets pass."""
        if isinstance(item, Wakeup):
            self._marks.append(item)
            return self._throttle.release_all()
        event, _ = item
        if rank(event.state) != _PROGRESS:
            kept = self._throttle.release(event.id)
            return (item,) if kept is None else (kept, item)
        passed, replaced = self._throttle.offer(event.id, item, time.monotonic())
        if replaced is not None:
            self._forget(replaced[1])
        return () if passed is None else (passed,)

    def _deliver(self, meanwhile: Callable[[], None] | None) -> bool:
        """Append what is pending, oldest first; False where the journal can't take it now."""
        while self._pending and not self._stopped:
            number, batch, size = self._pending[0]
            try:
                self._append(number, batch, meanwhile)
            except JournalAway as error:
                self._outage(error)
                return False
            except BatchRefused as error:
                self._refusal(error, len(batch))
            else:
                self._appended += len(batch)
                self._success()
            self._pending.popleft()
            self._forget(size)
        return True

    def _forget(self, size: int) -> None:
        with self._lock:
            self._bytes -= size

    def _lose_pending(self) -> None:
        while self._pending:
            self._forget(self._pending.popleft()[2])

    def _outage(self, error: JournalAway) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.warning("watcher: can't publish for now, tasks go on: %s", error)

    def _refusal(self, error: BatchRefused, count: int) -> None:
        if not self._refused:
            logger.error("watcher: Redis refuses events, which are lost: %s", error)
        self._refused += count

    def _success(self) -> None:
        """The journal takes events: what went wrong before is over, and told once."""
        self._failures = 0
        if self._away_since is not None or self._refused or (self._dropped and self._queue.empty()):
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        seconds = time.monotonic() - self._away_since if self._away_since is not None else 0.0
        logger.warning(
            "watcher: publishing again after %.1f s; events lost: %d (buffer full: %d, refused: %d)",
            seconds, dropped + self._refused, dropped, self._refused,
        )  # fmt: skip
        self._away_since, self._refused = None, 0


class HurriedOutbox(Outbox):
    """An outbox for a process that may be ended at any moment: who sends a task waits until that is appended.

    For half a second at most, and where that was in vain, nobody does for the next ten seconds. The other events of a
    task are not waited for.
    """

    #: Whether it is so: False once it is known that the process is not ended without a word.
    waits = True
    _waits_from = -math.inf

    def put(self, event: Event) -> None:
        """Queue an event, or drop it where the bound is reached."""
        super().put(event)
        waits = event.state == "PENDING" and self.waits and time.monotonic() >= self._waits_from
        if waits and not self.flush(_WAIT, _WAIT):
            self._waits_from = time.monotonic() + _IMPATIENCE
