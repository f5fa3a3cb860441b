"""Event → journal: buffered, batched and bounded; it never raises, and never makes a task wait for Redis."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from importlib import import_module
from typing import Final

from watcher.event import Event
from watcher.journal import Journal
from watcher.target import Target, target_of
from watcher.worker.appender import Appender
from watcher.worker.outbox import Outbox

__all__ = ["Publisher", "threads_run"]

logger = logging.getLogger("watcher")

#: Bytes of events that a process keeps while the journal can't take them.
BOUND: Final = 16 * 1024 * 1024
#: Seconds that the end of a process may be held up while events are still being appended.
_AT_EXIT: Final = 2.0
#: Time-out in seconds of connecting, and of an answer. Where no thread runs, sending holds up the caller.
_TIMEOUT: Final = 2.0
_INLINE_TIMEOUT: Final = 0.12

_publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()


class Publisher:
    """Publishes this process's events, in order.

    The thread and the connection are made at the first event, and anew in a forked child: what the parent had queued is
    the parent's to send.

    :param redis: the one that the journal is in, or its URL.
    :param bound: bytes of events that may wait; the newest is dropped when there are more.
    """

    def __init__(self, redis: Target | str, journal: Journal, *, bound: int = BOUND) -> None:
        self._target = target_of(redis)
        self._journal = journal
        self._bound = bound
        self._threaded = threads_run()
        self._start_afresh()
        _publishers.add(self)

    def publish(self, event: Event) -> None:
        """Queue an event to be appended, or drop it where the buffer is full."""
        self._outbox.put(event)

    def flush(self, timeout: float = _AT_EXIT) -> bool:
        """Wait until all that was published is appended, and tell whether it is.

        :param timeout: seconds. It gives up earlier, after 250 ms, where the journal takes nothing.
        """
        return self._outbox.flush(timeout)

    def finish(self) -> None:
        """Flush at the end of this process, and log what could not be published."""
        if not self.flush():
            logger.warning("watcher: this process ends with %d bytes of events unpublished", self._outbox.unsent())

    def close(self) -> None:
        """Flush, end the thread and close the connection: for who made a publisher of their own."""
        self.finish()
        _publishers.discard(self)
        self._outbox.stop()
        self._appender.close()

    def _start_afresh(self) -> None:
        timeout = _TIMEOUT if self._threaded else _INLINE_TIMEOUT
        self._appender = Appender(self._target, self._journal, timeout=timeout)
        self._outbox = Outbox(self._appender.append, bound=self._bound, threaded=self._threaded)


def threads_run() -> bool:
    """Whether a thread that this process starts would run: not in uWSGI without ``enable-threads``."""
    try:
        options = import_module("uwsgi").opt  # exists only inside uWSGI
    except (ImportError, AttributeError):
        return True
    names = {name.decode() if isinstance(name, bytes) else name for name in options}
    return bool(names & {"enable-threads", "threads"})


def _after_fork() -> None:
    # The thread did not come along, its lock may be held for ever, and its connection belongs to the parent.
    for publisher in list(_publishers):
        publisher._start_afresh()  # noqa: SLF001 - this module's own


def _at_exit() -> None:
    for publisher in list(_publishers):
        publisher.finish()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
