"""What one process has yet to publish: a bounded queue, and the thread that empties it into the journal in batches.

A task's thread never waits for Redis here, and a signal handler, a finalizer or a soft time limit may strike anywhere.
Thread, locks and queue are those of the moment when it is made, which is that of the process's first event: see
:mod:`watcher.worker.publish.concurrency`.

What holds:

- Any thread may :meth:`~Outbox.put`, and be interrupted while it does, even by something that puts. So the lock of the
  backlog is reentrant, guards a few counters, and is never held while something is sent.
- Whoever holds ``_sending`` sends: the thread, from its beginning on and for good, or else whoever puts, for a moment.
  Sender, batches and throttle are that one's alone.
- The state goes forward only, from ``INLINE`` to ``STOPPED``, and changes under the backlog's lock; :meth:`abandon`
  alone doesn't take it, since after a fork a thread that isn't here may hold it.
- A forked child makes an outbox of its own.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable
from typing import Final

from watcher.core.event import FINAL_STATES, Event, weight
from watcher.worker.publish.backlog import Backlog
from watcher.worker.publish.rounds import Rounds
from watcher.worker.publish.sender import Append, Sender
from watcher.worker.publish.wakeup import Wakeup

__all__ = ["HurriedOutbox", "Outbox"]

#: Whoever waits for the outbox to be emptied gives up when nothing was appended for this long, in seconds.
PATIENCE: Final = 0.25
#: How often who sends by itself looks whether others have put something meanwhile.
_INLINE_ROUNDS: Final = 3
#: Where each attempt keeps a task waiting, the next one is so many times as far.
_INLINE_REST: Final = 10
#: Seconds that who sends a task may wait until that is appended, if it has to.
_WAIT: Final = 0.5
#: Seconds in which nobody waits for a journal that has just kept somebody waiting in vain.
_IMPATIENCE: Final = 10.0


class _State(enum.Enum):
    """Who sends."""

    INLINE = "inline"  # whoever puts: no thread can run, or none has been started so far
    STARTED = "started"  # a thread, as soon as it begins
    RUNNING = "running"  # the thread
    STOPPED = "stopped"  # nobody


_INLINE: Final = _State.INLINE  # looked up for each event


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
        self._threaded = threaded
        self._be_brief = be_brief
        self._new_lock = threading.Lock
        self._state = _INLINE
        self._thread: threading.Thread | None = None
        self._backlog = Backlog(bound)
        self._sending = threading.Lock()
        self._sender = Sender(append, self._backlog, self._is_stopped)
        self._rounds = Rounds(self._backlog, self._sender, self._is_stopped)
        self._not_before = -math.inf  # nobody sends inline

    def put(self, event: Event) -> None:
        """Queue an event, or drop it where the bound is reached.

        Its line is made by the thread: many in a row take less time than each between a task and the next.
        """
        size, backlog = weight(event), self._backlog
        with backlog.lock:
            if backlog.size + size > backlog.bound:
                backlog.dropped += 1
                return
            backlog.size += size
            backlog.queue.put((event, size))
            inline = self._state is _INLINE and not self._start()
        if inline:
            self._send_inline()
        elif event.state in FINAL_STATES:
            self._rounds.bell.ring()

    def flush(self, timeout: float, patience: float = PATIENCE) -> bool:
        """Wait until all that is queued by now is appended, and tell whether it is.

        It gives up after ``timeout`` seconds, and already when nothing was appended for ``patience`` seconds, or for
        250 ms where the journal was away before.
        """
        if not self._backlog.size:
            return True
        appended = Wakeup(self._new_lock)
        with self._backlog.lock:
            self._backlog.queue.put(appended)
            inline = self._state is _INLINE
        if inline:
            self._not_before = -math.inf
            self._send_inline()
            return not self._backlog.size
        self._hurry()
        patience = patience if self._sender.away_since is None else PATIENCE
        end = time.monotonic() + timeout
        before = self._sender.appended
        while not appended.wait(max(min(patience, end - time.monotonic()), 0)):
            if self._sender.appended == before or time.monotonic() >= end:
                return False
            before = self._sender.appended
        return True

    def stop(self) -> None:
        """End the thread; what is still queued is lost. It may yet be in a call of ``append`` for its time-out."""
        with self._backlog.lock:
            self.abandon()
        self._hurry()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def abandon(self) -> None:
        """What is in it is another process's to send: its greenlet came along with a fork, and is to leave it alone."""
        self._state = _State.STOPPED
        self._backlog.queue.put(Wakeup(self._new_lock))

    def unsent(self) -> int:
        """Bytes of events that wait, about."""
        return self._backlog.size

    def _is_stopped(self) -> bool:
        return self._state is _State.STOPPED

    def _hurry(self) -> None:
        self._rounds.hurry.ring()
        self._rounds.bell.ring()

    # The thread.

    def _start(self) -> bool:
        """Start the thread, and tell whether there is one; the lock is held."""
        if not self._threaded:
            return False
        self._rounds.clock.maker = threading.get_native_id()
        thread = threading.Thread(target=self._run, name="watcher-publisher", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or the process may have no more of them
            return False
        self._thread = thread
        if self._state is _INLINE:  # no signal handler has stopped it meanwhile
            self._state = _State.STARTED
        return True

    def _run(self) -> None:
        with self._backlog.lock:
            # There may be another thread: a soft time limit that strikes in _start leaves one that nobody knows.
            if self._state not in (_INLINE, _State.STARTED):
                return
            self._state = _State.RUNNING
        self._sending.acquire()  # for good: nobody else sends from here on
        self._be_brief(False)
        self._rounds.run()

    # Without one.

    def _send_inline(self) -> None:
        # What is put meanwhile, by a signal handler or another greenlet, is left to the one that sends.
        sender, queue = self._sender, self._backlog.queue
        for _ in range(_INLINE_ROUNDS):
            if queue.empty() and not sender.batches.ready:
                return
            if time.monotonic() < self._not_before or not self._sending.acquire(blocking=False):
                return
            try:
                self._be_brief(True)
                sender.batches.collect(None)
                sender.batches.marks.clear()
                if not sender.deliver(None):
                    self._not_before = time.monotonic() + sender.retry_in() * _INLINE_REST
            finally:
                self._sending.release()


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
