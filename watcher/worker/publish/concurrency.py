"""What threads are in this process at this moment, and how it will end.

``monkey.patch_all()`` of gevent and eventlet makes greenlets of threads that are started from then on, and may come
long after this module was imported. So nothing is remembered here: who needs a lock or a queue asks when it makes one,
and uses those of one moment only with each other.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from queue import Empty
from typing import Any, Final, Generic, Protocol, TypeVar

from watcher.rendering._celery import child_of_billiard
from watcher.worker.publish.wakeup import Wakeup

__all__ = ["Queue", "at_end_of_child", "greenlets", "new_queue", "terminated_when_idle", "threads_run"]

T = TypeVar("T")

#: Seconds after which a greenlet that waits looks again: a native thread beside may not have been able to wake it.
_LOOK_AGAIN: Final = 1.0
#: After all that the child itself has to do at its end: what it sends there has to leave, too.
_LAST: Final = -100


class Queue(Protocol[T]):
    """What is used of ``queue.SimpleQueue``."""

    def put(self, item: T, /) -> None:
        """Append an item; never waits."""

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the first item, once there is one. ``queue.Empty``: there was none in ``timeout`` seconds."""

    def get_nowait(self) -> T:
        """Take the first item. ``queue.Empty``: there is none."""

    def qsize(self) -> int:
        """How many there are."""

    def empty(self) -> bool:
        """Whether there is none."""


class _Greenlets(Generic[T]):
    """A queue for greenlets: it waits with whatever ``threading`` has for a lock."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._bell = Wakeup()

    def put(self, item: T, /) -> None:
        self._items.append(item)
        self._bell.ring()

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        end = None if timeout is None else time.monotonic() + timeout
        while not self._items:
            left = _LOOK_AGAIN if end is None else end - time.monotonic()
            if not block or left <= 0:
                raise Empty
            self._bell.wait(min(left, _LOOK_AGAIN))
        return self._items.popleft()

    def get_nowait(self) -> T:
        return self.get(block=False)

    def qsize(self) -> int:
        return len(self._items)

    def empty(self) -> bool:
        return not self._items


def new_queue() -> Queue[Any]:
    """A queue whose ``get`` waits as threads do that are started now; ``put`` may be entered again while it runs."""
    # Not queue.SimpleQueue: gevent may have replaced it and left the threads alone (``patch_all(thread=False)``).
    return _Greenlets() if greenlets() else import_module("_queue").SimpleQueue()


def greenlets() -> bool:
    """Whether threads that are started now are greenlets, and what ``threading`` has is theirs."""
    return type(threading.Lock()).__module__ != "_thread"


def threads_run() -> bool:
    """Whether a thread that this process starts would run, and harm nobody.

    It doesn't run in uWSGI without ``enable-threads``. With it, uWSGI's main process forks its workers while a thread
    may hold the interpreter's lock, and a worker that was forked so never begins.
    """
    try:
        uwsgi = import_module("uwsgi")  # exists only inside uWSGI
        options = uwsgi.opt
    except (ImportError, AttributeError):
        return True
    if hasattr(uwsgi, "worker_id") and not uwsgi.worker_id():
        return False
    if greenlets():
        return True
    names = {name.decode() if isinstance(name, bytes) else name for name in options}
    return bool(names & {"enable-threads", "threads"})


def at_end_of_child(finish: Callable[[], None]) -> None:
    """Have ``finish`` called when this process ends, where it is a child of multiprocessing's: they hear no atexit.

    Billiard's children use multiprocessing's own functions for that.
    """
    if _child_of("multiprocessing.process") or _child_of("billiard.process"):
        import_module("multiprocessing.util").Finalize(None, finish, exitpriority=_LAST)


def terminated_when_idle() -> bool:
    """Whether its parent may end this process by SIGTERM once it has its answer: a daemonic child, as a Pool's are."""
    return any(
        _child_of(name) and bool(sys.modules[name].current_process().daemon)
        for name in ("multiprocessing.process", "billiard.process")
    )


def _child_of(name: str) -> bool:
    module = sys.modules.get(name)
    with suppress(AttributeError):  # another version of it
        if module is not None and hasattr(module, "parent_process"):
            return module.parent_process() is not None
        return module is not None and child_of_billiard(module)
    return False
