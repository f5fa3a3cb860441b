"""Waits for the ends of any number of tasks; each costs one listener's memory."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import anyio
from celery.result import AsyncResult, EagerResult

from watcher.client.models import TaskEvent, standing
from watcher.core.errors import WatcherError
from watcher.core.event import Event, encode
from watcher.core.order import parse
from watcher.core.tokens import identity_of
from watcher.direct.lookup import JournalPeek, LookupResult, peek
from watcher.direct.outcome import Outcome, Reader, of_this_life
from watcher.direct.registry import WaitRegistry
from watcher.direct.targets import One, ancestors

__all__ = ["Waits", "ending"]


class Waits:
    """The ends of some tasks, as they come. The caller must :meth:`leave` it."""

    def __init__(self, tasks: WaitRegistry, reader: Reader, targets: Iterable[One]) -> None:
        self._done: deque[tuple[int, Outcome]] = deque()
        self._stirred = anyio.Event()
        self._waiting: dict[_Wait, None] = {}
        try:
            for index, target in enumerate(targets):
                outcome = _outcome_without_waiting(target)
                if outcome is not None:
                    self._done.append((index, outcome))
                else:
                    wait = _Wait(self, tasks, reader, index, target)
                    self._waiting[wait] = None
                    wait.join()
        except BaseException:
            self.leave()
            raise

    def __bool__(self) -> bool:
        """Whether there is an end that :meth:`next` has not given yet."""
        return bool(self._done or self._waiting)

    def settle(self, wait: _Wait, outcome: Outcome) -> None:
        """One has ended."""
        if wait in self._waiting:
            del self._waiting[wait]
            wait.leave()
            self._done.append((wait.index, outcome))
            self._stirred.set()

    async def next(self) -> tuple[int, Outcome]:
        """Which of the tasks has ended next, and how. Safe to cancel."""
        while not self._done:
            await self._stirred.wait()
            self._stirred = anyio.Event()
        return self._done.popleft()

    def in_vain(self, seconds: float | None) -> TimeoutError:
        """What is raised when they have not ended within so many seconds: says where the first of them is."""
        if not self._waiting:
            return TimeoutError()
        first = next(iter(self._waiting))
        count = len(self._waiting)
        last = first.last
        where = f": {standing(last.state, last.queue, last.hostname, last.reason)}" if last is not None else ""
        more = f" (and {count - 1} more)" if count > 1 else ""
        return TimeoutError(f"task {first.id}{more} has not ended within {seconds or 0:g} s{where}")

    def leave(self) -> None:
        """Wait no more."""
        for wait in self._waiting:
            wait.leave()
        self._waiting.clear()


class _Wait:
    """One task's; the earlier links of its chain are listened to as well, because it never comes if one fails."""

    __slots__ = ("_ancestors", "_ends", "_reader", "_standings", "_tasks", "_waits", "id", "index", "last")

    wants_lines = False

    def __init__(self, waits: Waits, tasks: WaitRegistry, reader: Reader, index: int, target: One) -> None:
        self._waits = waits
        self._tasks = tasks
        self._reader = reader
        # By task, where the journal knows its end and nothing is stored: made when needed, since it hardly ever is.
        self._ends: dict[str, TaskEvent] | None = None
        self._standings: dict[str, str] | None = None
        self._ancestors = ancestors(target)
        self.index = index
        self.id = identity_of(target)
        self.last: JournalPeek | None = None  # the plugin's, where it tells

    def join(self) -> None:
        for identity in (self.id, *self._ancestors):
            self._tasks.join(identity, self)

    def leave(self) -> None:
        for identity in (self.id, *self._ancestors):
            self._tasks.leave(identity, self)

    def on_event(self, epoch: str, offset: int, line: bytes, event: JournalPeek) -> bool:
        if event.id == self.id and not event.late:
            self.last = event
        if event.ends:
            # What is stored goes before what is told: it may be larger, or no JSON.
            self._ends = {**(self._ends or {}), event.id: TaskEvent(f"task:{event.id}", epoch, offset, line)}
        return event.ends

    def on_look(self, identity: str, look: LookupResult) -> bool:
        if look.state and self.last is None and identity == self.id:
            self.last = JournalPeek(identity, look.state)
        stored = of_this_life(look)
        outcome = self._reader.stored(identity, stored) if stored is not None else None
        if outcome is not None:
            self._take(identity, outcome)
        elif self._ends and identity in self._ends:
            self._take(identity, self._reader.from_event(self._ends[identity]))
        elif look.ended:
            self._standings = {**(self._standings or {}), identity: look.standing}
            return True
        return False

    def on_past(self, identity: str, epoch: str, lines: Sequence[tuple[int, bytes]]) -> None:
        for offset, line in reversed(lines):
            event = peek(line)
            if event is not None and event.ends:
                self._take(identity, self._reader.from_event(TaskEvent(f"task:{identity}", epoch, offset, line)))
                return
        # The event itself is gone, and nothing is stored: there is nothing to be had but that it has ended.
        if self._standings and identity in self._standings:
            line = encode(ending(identity, self._standings[identity]))
            self._take(identity, self._reader.from_event(TaskEvent(f"task:{identity}", "", 0, line)))

    def on_error(self, error: WatcherError) -> None:
        self._waits.settle(self, Outcome(self.id, None, error=copy.copy(error)))

    def _take(self, identity: str, outcome: Outcome) -> None:
        if identity == self.id:
            self._waits.settle(self, outcome)
        elif outcome.error is not None:
            self._waits.settle(self, Outcome(self.id, outcome.state, error=outcome.error))


def ending(identity: str, standing: str) -> Event:
    """A final event made from a standing, where nothing else is left of it."""
    parsed = parse(standing)
    return Event(id=identity, state=parsed.state, timestamp=parsed.timestamp, source="backend", retries=parsed.retries)


def _outcome_without_waiting(target: One) -> Outcome | None:
    """The outcome of what need not be waited for, as ``get()`` doesn't."""
    if isinstance(target, EagerResult):
        value: Any = target.get(propagate=False, disable_sync_subtasks=False)
        failed = isinstance(value, Exception) and target.state != "SUCCESS"
        return Outcome(target.id, target.state, *((None, value) if failed else (value,)))
    if isinstance(target, AsyncResult) and target.ignored:
        return Outcome(target.id, None)
    return None
