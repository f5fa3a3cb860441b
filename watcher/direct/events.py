"""One task's events as an async iterator: from the journal, and where no plugin tells, from the result backend."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import time
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import anyio

from watcher.client.models import TaskEvent
from watcher.core.errors import WatcherError
from watcher.core.event import Event, InvalidEvent, decode, encode, is_final
from watcher.direct.lookup import JournalPeek, LookupResult, peek
from watcher.direct.outcome import of_this_life
from watcher.direct.registry import WaitRegistry
from watcher.direct.waits import ending
from watcher.rendering.policy import Policy
from watcher.rendering.result_backend import event_of

__all__ = ["Events"]

#: What the plugin is given to tell of an end itself, in seconds, as the relay's safety net gives it …
_PATIENCE: Final = 3.0
#: … and where the task's worker doesn't seem to have it.
_NO_PLUGIN: Final = 0.2
#: So many events wait for a slow reader. Of what comes on top, it gets the newest of each state when it has caught up.
_WAITING: Final = 1000


class _Inbox:
    """Events that came and were not read yet. It has no reference to its reader, so that a reader can be collected."""

    wants_lines = True

    def __init__(self, identity: str, tasks: WaitRegistry, policy: Policy, since: tuple[str, int] | None) -> None:
        self.id = identity
        self._tasks = tasks
        self._policy = policy
        self._epoch, self._floor = since or ("", 0)
        self._items: dict[int, bytes] = {}  # by offset, ascending once `known`
        self._earlier: list[TaskEvent] = []  # of an epoch before
        self._looked_up = False  # whether what was before has been looked up
        self._behind = False  # whether something was left out because there was no room
        self._worker_tells = False
        self._standing = ""
        self._stored: Event | None = None
        self._from_backend: tuple[str, bytes] | None = None  # what was last told from the backend
        self._due: float | None = None  # when to tell of what is stored, by the event loop's clock
        self.error: WatcherError | None = None
        self.stirred = anyio.Event()

    # From the tasks.

    def on_event(self, epoch: str, offset: int, line: bytes, event: JournalPeek) -> bool:
        self._turn(epoch)
        self._note(event)
        if len(self._items) >= _WAITING:
            self._behind = True
        elif offset > self._floor and not self._is_double(line, event):
            self._items[offset] = line
            self.stirred.set()
        return False

    def on_look(self, identity: str, look: LookupResult) -> bool:
        self._keep(of_this_life(look))
        if look.ended:
            self._standing = look.standing
            return not (self._looked_up and any(_ends(line) for line in self._items.values()))
        if look.epoch:
            self._turn(look.epoch)
        self._merge(look.lines)
        return False

    def on_past(self, identity: str, epoch: str, lines: Sequence[tuple[int, bytes]]) -> None:
        if epoch:
            self._turn(epoch)
        self._merge(lines)
        if not any(_ends(line) for line in self._items.values()):
            # The event that ended it is gone: what is known of the end stands for it.
            stored = self._stored if self._stored is not None and is_final(self._stored.state) else None
            self._stored = stored or ending(self.id, self._standing)
            self._due = 0.0
            self.stirred.set()

    def on_error(self, error: WatcherError) -> None:
        self.error = error
        self.stirred.set()

    def _turn(self, epoch: str) -> None:
        """Begin another epoch, if it is one: its offsets can't be compared with earlier ones."""
        if epoch != self._epoch:
            self._earlier += [self._event(offset) for offset in self._items]
            self._items.clear()
            self._epoch, self._floor = epoch, 0

    def _note(self, event: JournalPeek) -> None:
        if event.source == "signal" and event.state != "PENDING":
            self._worker_tells = True

    def _merge(self, lines: Sequence[tuple[int, bytes]]) -> None:
        for offset, line in lines:
            event = peek(line)
            if event is not None and offset > self._floor:
                self._note(event)
                self._items.setdefault(offset, line)
        self._items = dict(sorted(self._items.items()))
        self._looked_up = True
        self.stirred.set()

    def _keep(self, payload: bytes | None) -> None:
        """Remember what is stored, to be told of unless somebody else does so first."""
        if payload is None:
            return
        event = event_of(self.id, payload, self._policy, time.time())
        if event is not None and _shown(event) != self._from_backend:
            self._stored = event
            self._due = anyio.current_time() + (_PATIENCE if self._worker_tells else _NO_PLUGIN)
            self.stirred.set()

    def _is_double(self, line: bytes, event: JournalPeek) -> bool:
        """Whether a relay tells of what was told from the backend here."""
        return event.source == "backend" and self._from_backend is not None and self._from_backend == _shown_line(line)

    # To the reader.

    def pop(self) -> TaskEvent | None:
        """The next event, where there is one."""
        if self._earlier:
            return self._earlier.pop(0)
        if not self._looked_up:
            return None
        if self._items:
            offset = next(iter(self._items))
            event = self._event(offset)
            del self._items[offset]
            self._floor = offset
            return event
        if self._behind:
            self._behind = False
            self._tasks.look(self.id)
        return self._overdue()

    def patience(self) -> float | None:
        """Seconds until the next event is due; None if none is."""
        return None if self._due is None or not self._looked_up else max(self._due - anyio.current_time(), 0.0)

    def _event(self, offset: int) -> TaskEvent:
        return TaskEvent(f"task:{self.id}", self._epoch, offset, self._items[offset])

    def _overdue(self) -> TaskEvent | None:
        """The stored state as an event, if nobody else reported it in time."""
        if self._stored is None or self._due is None or anyio.current_time() < self._due:
            return None
        stored, self._stored, self._due = self._stored, None, None
        if self._worker_tells and not is_final(stored.state):
            return None  # its worker does, and better
        self._from_backend = _shown(stored)
        return TaskEvent(f"task:{self.id}", self._epoch, 0, encode(stored))


class Events:
    """The events of one task, from the first one that is kept to the one that ends it: ``async for event in events``.

    It listens from the moment when it is made. It is safe to cancel, and to go on reading after that; it is for one
    reader at a time. For a slow reader 1,000 events are kept; of what comes on top it gets the newest of each state.

    :param since: ``(epoch, offset)`` of an event that was seen: go on after it.
    """

    def __init__(
        self, identity: str, tasks: WaitRegistry, policy: Policy, since: tuple[str, int] | None = None
    ) -> None:
        self._inbox = _Inbox(identity, tasks, policy, since)
        self._tasks = tasks
        self._ended = False
        tasks.join(identity, self._inbox)
        # Whoever collects garbage may do it in any thread, and at any time.
        loop = asyncio.get_running_loop()
        self._forgotten = weakref.finalize(self, _abandon, loop, functools.partial(tasks.leave, identity, self._inbox))
        self._forgotten.atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskEvent:
        """The next event.

        :raises ResultsClosed: the ``results`` block was left. RedisRefused: Redis lets nobody listen.
        """
        inbox = self._inbox
        while not self._ended:
            event = inbox.pop()
            if event is not None:
                if event.ends:
                    await self.aclose()
                return event
            if inbox.error is not None:
                raise copy.copy(inbox.error)
            with anyio.move_on_after(inbox.patience()):
                await inbox.stirred.wait()
                inbox.stirred = anyio.Event()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Listen no more; reading on ends at once."""
        self._ended = True
        self._forgotten.detach()
        self._tasks.leave(self._inbox.id, self._inbox)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _abandon(loop: asyncio.AbstractEventLoop, leave: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and with it everything
        loop.call_soon_threadsafe(leave)


def _ends(line: bytes) -> bool:
    event = peek(line)
    return event is not None and event.ends


def _shown(event: Event) -> tuple[str, bytes]:
    """What of an event from the backend tells it from the next one."""
    return event.state, encode(Event(id="", state="", timestamp=0.0, source="backend", meta=event.meta))


def _shown_line(line: bytes) -> tuple[str, bytes] | None:
    try:
        return _shown(decode(line))
    except InvalidEvent:
        return None
