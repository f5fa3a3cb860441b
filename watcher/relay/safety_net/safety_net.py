"""The safety net: what Celery's result backend knows and the journal doesn't is appended, with ``source: backend``.

Celery's Redis result backend stores each result under ``celery-task-meta-ID`` and publishes it on a channel of the same
name, in one transaction. So a result whose event never came (the child was killed between the two, the worker has no
plugin, the publisher's buffer was full) can be made good, by one relay at a time: it listens, gives the plugin's own
event some time, and reads what is stored where that did not come.

A channel's name says nothing about databases, so what is published is taken for a bell only: what counts is the key in
our own database. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import anyio
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from watcher.core.backoff import Backoff
from watcher.core.event import Event, decode
from watcher.journal.layout import Journal
from watcher.journal.subscriber import Message, subscribed
from watcher.relay.safety_net.following import following, is_settled
from watcher.relay.safety_net.lease import Lease, LeaseLost
from watcher.relay.safety_net.orphans import Workers, may_be_stranded, stranded
from watcher.relay.safety_net.scan import Scan, literally
from watcher.relay.stream.history import History

__all__ = ["RESUME", "SafetyNet"]

logger = logging.getLogger(__name__)

#: What the plugin is given to tell of a change itself, in seconds: longer than a publisher that waits for the journal
#: to come back rests between two attempts (watcher/worker/publish/outbox.py) …
_PATIENCE: Final = 3.0
#: … and where no worker seems to have it.
_NO_PLUGIN: Final = 0.2
#: Tasks are looked at this often, in seconds, and so many at a time.
_TURN: Final = 0.1
_AT_ONCE: Final = 200
#: Between two of those that were stored while nobody listened, in seconds.
_REST: Final = 0.05
#: So many changes may wait to be looked at; what comes on top is found by the sweep of unfinished tasks.
_WAITING: Final = 200_000
#: The unfinished tasks are looked up on taking over, and then a part of them once in this many seconds.
_SWEEP: Final = 2.0
#: After it could not work: it may be that the journal's Redis is there, and only the results' is not.
RESUME: Final = Backoff(first=1.0, longest=1.0)


class SafetyNet:
    """Completes the journal from the result backend, while this relay holds the lease.

    :param results: the result backend's Redis, ``redis`` the journal's; clients that don't decode.
    :param prefix: of the keys that results are stored under; ``expires``: how long that is, in seconds, None: for ever.
    :param read: makes an event of what is stored under a task's id, given its name where that is known; None where it
        can't be told.
    :param append: appends events to the journal.
    """

    def __init__(
        self,
        *,
        results: Redis,
        prefix: str,
        expires: float | None = None,
        redis: Redis,
        journal: Journal,
        history: History,
        read: Callable[[str, bytes, str | None], Event | None],
        append: Callable[[Sequence[Event]], Awaitable[Any]],
    ) -> None:
        self._results = results
        self._prefix = prefix
        self._redis = redis
        self._journal = journal
        self._history = history
        self._read = read
        self._append = append
        self._lease = Lease(redis, journal.lease)
        self._scan = Scan(results=results, prefix=prefix, expires=expires, redis=redis, journal=journal)
        # Task → when to look it up, by the event loop's clock. Two queues, each in order of time.
        self._soon: dict[str, float] = {}
        self._later: dict[str, float] = {}
        # One that can't reach the journal tells of its tasks when it can.
        self._workers = Workers({}, 0.0)
        # Until then every change is given that time: after an outage they are yet to tell of what happened meanwhile.
        self._unsettled = 0.0
        #: How many events were appended from the backend, and whether this relay is the one that does.
        self.completed = 0
        self.active = False

    async def run(self) -> None:
        """Take the lease when it is free, and work; returns never, ends by cancellation."""
        while True:
            try:
                await self._lease.hold(self._hold)
            except* (RedisError, OSError, TimeoutError, LeaseLost) as errors:
                logger.debug("the result backend is not watched: %s", errors.exceptions)
                self._unsettled = math.inf
            await anyio.sleep(RESUME.seconds(0))

    async def _hold(self) -> None:
        self.active = True
        try:
            await self._work()
        finally:
            self.active = False

    async def _work(self) -> None:
        everything = subscribed(self._results, f"{literally(self._prefix)}*", pattern=True)
        async with everything as subscription, anyio.create_task_group() as group:
            if self._unsettled == math.inf:
                self._unsettled = anyio.current_time() + _PATIENCE
                # What waited when the outage came has waited for events that could not be appended.
                self._later = dict.fromkeys([*self._soon, *self._later], self._unsettled)
                self._soon = {}
            group.start_soon(self._sweep)
            group.start_soon(self._catch_up)
            group.start_soon(self._complete)
            await subscription.listen(self._hear)

    def _hear(self, messages: Sequence[Message]) -> int:
        for channel, _ in messages:
            self._hear_of(channel.decode(errors="replace").removeprefix(self._prefix))
        return len(messages)

    def _hear_of(self, identity: str) -> None:
        if identity in self._soon or len(self._soon) + len(self._later) >= _WAITING:
            return
        now = anyio.current_time()
        if self._plugin_may_tell_of(identity, now):
            self._later.pop(identity, None)  # what was stored now is what is waited for
            self._later[identity] = now + _PATIENCE
        elif identity not in self._later:
            self._soon[identity] = now + _NO_PLUGIN

    def _plugin_may_tell_of(self, identity: str, now: float) -> bool:
        """Whether a worker's plugin has announced the task, so that it is going to tell how it ends too, or may yet."""
        if self._workers.any() or now < self._unsettled:
            return True
        newest = self._history.state(identity)
        return newest is not None and newest.source == "signal" and newest.state != "PENDING"

    async def _complete(self) -> None:
        """Look at each task when its time has come."""
        while True:
            now = anyio.current_time()
            due = _due(self._later, now)
            for identity in _due(self._soon, now):
                if self._plugin_may_tell_of(identity, now):  # by now
                    self._later[identity] = now + _PATIENCE
                else:
                    due.append(identity)
            for start in range(0, len(due), _AT_ONCE):
                await self._look_up(due[start : start + _AT_ONCE])
            await anyio.sleep(_TURN)

    async def _sweep(self) -> None:
        """Go through the unfinished tasks: without a pause at first, a part of them now and then later on."""
        cursor, first_round = 0, True
        fields: Any
        while True:
            cursor, fields = await self._redis.hscan(self._journal.open, cursor, count=_AT_ONCE)
            identities = [field.decode(errors="replace") for field in fields]
            for start in range(0, len(identities), _AT_ONCE):  # a small hash comes whole
                events = await self._missing_of(identities[start : start + _AT_ONCE])
                due = anyio.current_time() + _PATIENCE  # what was stored a moment ago may be on its way
                for event in events:
                    self._later.setdefault(event.id, due)
            await self._look_after(identities)
            first_round = first_round and cursor != 0
            if not first_round:
                await anyio.sleep(_SWEEP)

    async def _catch_up(self) -> None:
        """Look for what was stored while nobody listened, and then note down that somebody does."""
        age = min(await self._scan.age(), self._remembered())
        since, most = time.time() - age, self._journal.history // 2
        try:
            async with contextlib.aclosing(self._scan.pages(age)) as pages:
                async for page in pages:
                    for identities, oldest in ((page.young, 0.0), (page.doubtful, since)):
                        most -= await self._expect(identities, oldest, most)
                    if most <= 0:
                        logger.warning("more results were stored while no relay listened than the journal holds")
                        break
        except ResponseError as error:
            logger.warning("can't look for results that were stored while no relay listened: %s", error)
        await self._scan.note()

    async def _expect(self, identities: Sequence[str], oldest: float, most: int) -> int:
        """Look these up once more when the plugin has had its time, at most so many; how many that are.

        :param oldest: a moment, in Unix seconds: what is stored with one before it is left alone.
        """
        expected = 0
        for start in range(0, len(identities), _AT_ONCE):
            events = await self._missing_of(identities[start : start + _AT_ONCE])
            due = anyio.current_time() + _PATIENCE
            for event in events:
                if event.timestamp >= oldest and expected < most:
                    self._later.setdefault(event.id, due)
                    expected += 1
            await anyio.sleep(_REST)
        return expected

    def _remembered(self) -> float:
        """How far back the history reaches, in seconds: what ended before may have been told, and have left it."""
        if self._history.first <= 1:
            return math.inf
        line = self._history.line(self._history.first)
        return math.inf if line is None else max(0.0, time.time() - decode(line).timestamp)

    async def _look_after(self, identities: Sequence[str]) -> None:
        """Say of tasks that are not going to end by themselves what has become of them."""
        beats: Any = await self._redis.hgetall(self._journal.workers)
        now: Any = await self._redis.time()
        self._workers = workers = Workers(beats, float(now[0]))
        newest = (self._history.state(identity) for identity in identities)
        doubtful = [event.id for event in newest if event is not None and may_be_stranded(event, workers)]
        tasks = (self._history.task(identity) for identity in doubtful)
        events = [event for task in tasks if task and (event := stranded(task, workers, time.time())) is not None]
        if events:
            await self._append(events)
        if forgotten := workers.forgotten():
            await self._redis.hdel(self._journal.workers, *forgotten)

    async def _look_up(self, identities: Iterable[str]) -> None:
        """Append what the backend knows and the journal doesn't."""
        events = await self._missing_of(identities)
        if events:
            await self._append(events)
            self.completed += len(events)

    async def _missing_of(self, identities: Iterable[str]) -> list[Event]:
        """What the backend knows and the journal doesn't."""
        open_ones = [identity for identity in identities if not is_settled(self._history.state(identity))]
        if not open_ones:
            return []
        stored: Any = await self._results.mget([f"{self._prefix}{identity}" for identity in open_ones])
        events = (self._missing(*pair) for pair in zip(open_ones, stored, strict=True) if pair[1] is not None)
        return [event for event in events if event is not None]

    def _missing(self, identity: str, payload: bytes) -> Event | None:
        """The event that ``payload`` tells of, where the journal doesn't have it."""
        task = self._history.task(identity)
        event = self._read(identity, payload, task.name if task is not None else None)
        if event is None or (task is None and self._history.has(f"group:{identity}")):
            return None  # Celery stores the failure of a group under its own id
        if task is None and event.parent_id and (parent := self._history.state(event.parent_id)) is not None:
            event = replace(event, root_id=parent.root_id)  # which isn't stored
        return following(event, task, self._history.events_of(identity), self._workers)


def _due(waiting: dict[str, float], now: float) -> list[str]:
    """Take out what has waited long enough; ``waiting`` is in order of time."""
    due = []
    for identity, moment in waiting.items():
        if moment > now:
            break
        due.append(identity)
    for identity in due:
        del waiting[identity]
    return due
