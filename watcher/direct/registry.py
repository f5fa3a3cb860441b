"""Listeners by task: combines what the pub/sub connections hear with what look-ups find."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from anyio.abc import TaskGroup
from redis.asyncio import Redis
from redis.exceptions import RedisError

from watcher.core.errors import WatcherError
from watcher.direct.errors import RedisRefused
from watcher.direct.lookup import NOTHING, JournalPeek, JournalSearch, Lookup, LookupBatches, LookupResult, peek
from watcher.direct.pubsub_connection import PubSubConnection
from watcher.direct.subscriptions import Interest
from watcher.journal.layout import Batch, Journal, is_authentic, parse_live

__all__ = ["TaskListener", "WaitRegistry"]

logger = logging.getLogger("watcher.direct")

#: So many tasks are looked up at once: results may be large.
_AT_ONCE: Final = 100
#: So many are searched for in the journal at once, in one pass over it.
_IN_ONE_PASS: Final = 10_000


class TaskListener(Protocol):
    """Takes the events of one or several tasks. Nothing here may block."""

    @property
    def wants_lines(self) -> bool:
        """Whether a look is to bring the journal's events too."""

    def on_event(self, epoch: str, offset: int, line: bytes, event: JournalPeek) -> bool:
        """An event, from the journal's live channel; returns whether the task is to be looked up now."""

    def on_look(self, identity: str, look: LookupResult) -> bool:
        """What was found of a task; returns whether the past is to be searched for it."""

    def on_past(self, identity: str, epoch: str, lines: Sequence[tuple[int, bytes]]) -> None:
        """The events that the journal still has of a task that has ended."""

    def on_error(self, error: WatcherError) -> None:
        """Nothing more will come, because of this error."""


class WaitRegistry:
    """Listeners by task, on one subscriber connection.

    :param results: the result backend's Redis; clients here don't decode and don't retry.
    :param prefix: of the keys that results are stored under, and of the channels that say so.
    :param redis: the journal's Redis: the same client where it is in the same database.
    :param apart: whether the journal is on another server, which needs a subscriber connection of its own.
    """

    def __init__(self, results: Redis, prefix: str, redis: Redis, journal: Journal, *, apart: bool) -> None:
        self._interest: Interest[TaskListener] = Interest()
        self._line = PubSubConnection(results, journal.quiet if apart else journal.live, prefix, self._interest, self)
        self._journal_line = (
            PubSubConnection(redis, journal.live, "", Interest(), _Aside(self)) if apart else self._line
        )
        self._apart = apart
        self._lookup = Lookup(results, prefix, redis, journal)
        self._past = JournalSearch(redis, journal)
        self._looks = LookupBatches(self._look, self._refuse, _AT_ONCE)
        self._searches = LookupBatches(self._search, self._refuse, _IN_ONE_PASS)
        self._closed: WatcherError | None = None
        self._passed_over = False  # a message that was no batch
        self._live = NOTHING  # what is believed on the journal's live channel …
        self._asks_live = True  # … which is looked up with the next task that is

    def start(self, group: TaskGroup) -> None:
        """Listen, until the group is cancelled."""
        group.start_soon(self._line.run)
        if self._apart:
            group.start_soon(self._journal_line.run)
        group.start_soon(self._looks.run)
        group.start_soon(self._searches.run)

    def close(self, error: WatcherError) -> None:
        """Let go of everybody, and take nobody any more."""
        self._closed = error
        for listener in self._interest.everybody():
            listener.on_error(copy.copy(error))

    def join(self, identity: str, listener: TaskListener) -> None:
        """Tell ``listener`` of a task: first what is known of it, then what happens.

        :raises ResultsClosed: it is too late for that.
        """
        if self._closed is not None:
            raise copy.copy(self._closed)
        if self._interest.join(identity, listener):
            self._looks.ask(identity)
        else:
            self._line.stir()

    def leave(self, identity: str, listener: TaskListener) -> None:
        """Tell it no more; does nothing where it isn't told."""
        self._interest.leave(identity, listener)
        self._line.stir()

    def look(self, identity: str) -> None:
        """Look a task up again."""
        self._looks.ask(identity)

    # What the line hears.

    def opened(self) -> None:
        """Each task is subscribed to anew, and then looked up."""
        self._live, self._asks_live = NOTHING, True

    def ready(self, name: str) -> None:
        """From now on it is listened to; now what was before is looked up."""
        self._looks.ask(name)

    def rung(self, name: str) -> None:
        """A result was stored, in whichever database: what counts is what is in ours."""
        self._looks.ask(name)

    def on_batch(self, data: bytes) -> None:
        """A batch of events was appended to the journal, or somebody says so: then what is true is looked up."""
        if not self._interest:
            return
        try:
            batch = parse_live(data)
        except ValueError:
            if not self._passed_over:  # once: anybody may publish there, any number of them
                logger.warning("ignored a message on the journal's channel that is not a batch of events")
            self._passed_over = True
            return
        authentic = self._believes(data, batch)
        for offset, line in enumerate(batch.lines, batch.first):
            event = peek(line)
            if event is None:
                continue
            if authentic:
                for listener in self._interest.listeners(event.id):
                    if listener.on_event(batch.epoch, offset, line, event):
                        self._looks.ask(event.id)
            elif self._interest.listeners(event.id):
                self._looks.ask(event.id)

    def _believes(self, data: bytes, batch: Batch) -> bool:
        if batch.epoch != self._live.epoch or not is_authentic(data, batch, self._live.secret):
            self._asks_live = True
            return False
        if batch.first <= self._live.offset:
            return False
        self._live = self._live._replace(offset=batch.last)
        return True

    def refused(self, error: Exception) -> None:
        """Redis refused: every listener gets the error."""
        for listener in self._interest.everybody():
            listener.on_error(RedisRefused(f"Redis refused: {error}"))

    def journal_opened(self) -> None:
        """The journal's own line is there again: what it would have said is looked up."""
        self._live, self._asks_live = NOTHING, True
        for name in self._interest:
            self._looks.ask(name)

    # Looking.

    async def _look(self, identities: list[str]) -> None:
        identities = [name for name in identities if self._interest.listeners(name)]
        if not identities:
            return  # all of them have left meanwhile
        # The journal first: a result is stored before it is told of, so of what is known here to have ended, the result
        # is there by the next line, or was never stored.
        looks = await self._from_journal(identities)
        stored = await self._lookup.stored(identities)
        for identity, payload in zip(identities, stored, strict=True):
            if identity in self._looks:
                continue  # something has happened meanwhile, and it is looked up again
            look = looks.get(identity, LookupResult(None))._replace(stored=payload)
            wanting = [listener for listener in self._interest.listeners(identity) if listener.on_look(identity, look)]
            if wanting:
                self._searches.ask(identity)

    async def _from_journal(self, identities: list[str]) -> dict[str, LookupResult]:
        if not self._apart:
            return await self._ask(identities)
        if not self._journal_line.open:
            return {}
        try:
            return await self._ask(identities)
        except (RedisError, OSError) as error:
            logger.debug("can't read the journal: %s", error)
            return {}  # results are had without it; when it is there again, all is looked up again

    async def _ask(self, identities: list[str]) -> dict[str, LookupResult]:
        if self._asks_live:  # first, so that of what is told from the look on nothing has to be looked up
            self._asks_live = False
            self._live = await self._lookup.live()
        return await self._lookup.known_to_journal(identities, self._wanting_lines(identities))

    def _wanting_lines(self, identities: list[str]) -> list[str]:
        return [name for name in identities if any(listener.wants_lines for listener in self._interest.listeners(name))]

    async def _search(self, identities: list[str]) -> None:
        epoch, events = await self._past.of(identities)
        for identity, lines in events.items():
            for listener in self._interest.listeners(identity):
                listener.on_past(identity, epoch, lines)

    def _refuse(self, identity: str, error: Exception) -> None:
        for listener in self._interest.listeners(identity):
            listener.on_error(RedisRefused(f"Redis refused: {error}"))


class _Aside:
    """Listens to a journal that is on another server than the results."""

    def __init__(self, tasks: WaitRegistry) -> None:
        self._tasks = tasks

    def opened(self) -> None:
        self._tasks.journal_opened()

    def ready(self, name: str) -> None:
        """Nothing but the live channel is listened to."""

    def rung(self, name: str) -> None:
        """Nothing but the live channel is listened to."""

    def on_batch(self, data: bytes) -> None:
        self._tasks.on_batch(data)

    def refused(self, error: Exception) -> None:
        """Results are had without it."""
