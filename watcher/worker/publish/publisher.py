"""Event → journal: buffered, batched and bounded; it never raises, and never makes a task wait for Redis."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from contextlib import suppress
from os import getpid
from typing import Final

from watcher.core.event import Event
from watcher.journal.connect import PUBLISH, Target, target_of
from watcher.journal.layout import Journal
from watcher.worker.publish.appender import Appender
from watcher.worker.publish.concurrency import at_end_of_child, terminated_when_idle, threads_run
from watcher.worker.publish.outbox import PATIENCE, HurriedOutbox, Outbox

__all__ = ["Publisher", "ends_orderly"]

logger = logging.getLogger("watcher")

#: Bytes of events that a process keeps while the journal can't take them.
BOUND: Final = 16 * 1024 * 1024
#: Seconds that the end of a process may be held up while events are still being appended.
_AT_EXIT: Final = 2.0
#: Seconds that it may be while nothing is: children are many, begin together, and do nothing but connect.
_CHILDS_PATIENCE: Final = 1.0
#: Time-out in seconds of connecting, and of an answer, where no thread runs: then sending holds up the caller.
_INLINE_TIMEOUT: Final = 0.12

_publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()


class Publisher:
    """Publishes this process's events, in order.

    All that it needs is made at the process's first event, and anew in a forked child: what the parent had queued is
    the parent's to send.

    :param redis: the one that the journal is in, or its URL.
    :param bound: bytes of events that may wait; the newest is dropped when there are more.
    """

    def __init__(self, redis: Target | str, journal: Journal, *, bound: int = BOUND) -> None:
        self._target = target_of(redis)
        self._journal = journal
        self._bound = bound
        self._pid = 0  # of the process that the rest is for; 0: another than this
        self._by_process: dict[int, tuple[Appender, Outbox]] = {}
        self._appender, self._outbox = self._make()
        _publishers.add(self)

    def publish(self, event: Event) -> None:
        """Queue an event to be appended, or drop it where the buffer is full."""
        # There are forks of which Python isn't told: uWSGI's, whose processes send tasks. A task's other events, which
        # are the most, are spared the system call.
        if not self._pid or (event.state == "PENDING" and self._pid != getpid()):
            self._begin()
        self._outbox.put(event)

    def flush(self, timeout: float = _AT_EXIT, patience: float = PATIENCE) -> bool:
        """Wait until all that was published is appended, and tell whether it is.

        :param timeout: seconds. It gives up earlier where the journal takes nothing for ``patience`` seconds.
        """
        return self._pid != getpid() or self._outbox.flush(timeout, patience)

    def finish(self, patience: float = PATIENCE) -> None:
        """Flush at the end of this process, and log what could not be published."""
        if not self.flush(patience=patience):
            logger.warning("watcher: this process ends with %d bytes of events unpublished", self._outbox.unsent())

    def close(self) -> None:
        """Flush, end the thread and close the connection: for who made a publisher of their own."""
        self.finish()
        _publishers.discard(self)
        self._outbox.stop()
        self._appender.close()

    def wait_for_nothing(self) -> None:
        """Let nobody wait until what they sent is appended, since this process flushes before it ends."""
        if isinstance(self._outbox, HurriedOutbox):
            self._outbox.waits = False

    def forked(self) -> None:
        """Leave to the parent what is the parent's; called in a child."""
        self._pid = 0
        self._by_process = {}
        self._leave(self._appender, self._outbox)
        self._appender, self._outbox = self._make()

    def _leave(self, appender: Appender, outbox: Outbox) -> None:
        outbox.abandon()
        with suppress(Exception):  # whatever state it was in when the parent forked
            appender.close()  # only here: a greenlet that came along would read the parent's answers from it

    def _begin(self) -> None:
        """Make what this process needs. Threads may come here together, and a signal may strike; one of them wins."""
        pid, by_process = getpid(), self._by_process
        if self._pid in by_process:  # a fork that Python wasn't told of
            self._leave(*by_process[self._pid])
        self._appender, self._outbox = own = by_process.setdefault(pid, self._make())
        self._by_process = {pid: own}
        self._pid = pid
        at_end_of_child(_at_end_of_child)

    def _make(self) -> tuple[Appender, Outbox]:
        appender = Appender(self._target, self._journal)
        kind = HurriedOutbox if _ends_orderly != getpid() and terminated_when_idle() else Outbox
        outbox = kind(
            appender.append,
            bound=self._bound,
            threaded=threads_run(),
            be_brief=lambda brief: appender.limit(_INLINE_TIMEOUT if brief else PUBLISH.timeout),
        )
        return appender, outbox


#: The id of this process where it is known to flush before it ends.
_ends_orderly = 0


def ends_orderly() -> None:
    """Say that this process calls :meth:`Publisher.finish` before it ends: a worker, or one of its pool's."""
    global _ends_orderly  # noqa: PLW0603 - it is the process's
    _ends_orderly = getpid()
    for publisher in list(_publishers):
        publisher.wait_for_nothing()


def _after_fork() -> None:
    global _patience  # noqa: PLW0603 - it is the process's
    _patience = _CHILDS_PATIENCE
    # The thread did not come along, its lock may be held for ever, and its connection belongs to the parent.
    for publisher in list(_publishers):
        publisher.forked()


#: How patient this process is when it ends.
_patience = PATIENCE


def _at_exit() -> None:
    for publisher in list(_publishers):
        publisher.finish(_patience)


def _at_end_of_child() -> None:
    for publisher in list(_publishers):
        publisher.finish(_CHILDS_PATIENCE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
