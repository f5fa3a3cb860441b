"""From the relay's history into the catalogue: in portions, beside the event loop, behind by as little as is wanted.

Nothing is queued. What is new is taken from the history, which keeps it anyway, when the portion before is written; so
portions grow with what comes. Where the history has lost what the catalogue lacks, the stream in Redis may have it;
else it is a gap, and what the result backend knows of its tasks is filled in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

import anyio
import anyio.to_thread
from redis.asyncio import Redis

from watcher.catalogue.catalogue import Catalogue, Position, Reach
from watcher.core.errors import Unavailable
from watcher.core.event import Event, InvalidEvent, decode
from watcher.journal.layout import Journal, entry_id
from watcher.journal.reader import entries
from watcher.relay.malloc import give_back
from watcher.relay.stream.history import History

__all__ = ["Follower", "Journals"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Events that are taken from the history at once, at most, and of these that are decoded at once: that is some MiB.
_MOST: Final = 20_000
_DECODED: Final = 2_000
#: Between two portions, in seconds, at least: what happens to a task within that time is written once. Who asks for
#: what isn't there yet doesn't wait for that.
_REST: Final = 0.5
#: Another relay's catalogue is looked at again after so many seconds where somebody waits for it.
_ASKED: Final = 0.05
#: What the database does at the end is waited for so long, in seconds.
_FINISH: Final = 2.0
#: Unfinished tasks that are looked for in the result backend at a time.
_PAGE: Final = 200


class Journals(NamedTuple):
    """What there is to follow.

    :param loaded: waits until there is a history.
    :param grown: waits for the next events.
    :param stored: the event that the result backend tells of a task; None where it knows none, or can't be asked.
    """

    history: History
    redis: Redis
    journal: Journal
    loaded: Callable[[], Awaitable[object]]
    grown: Callable[[], Awaitable[object]]
    stored: Callable[[str], Awaitable[Event | None]]


class Follower:
    """Brings one catalogue up to date, and keeps it so.

    :param moved: called whenever the catalogue is found to have moved, or to lack nothing.
    """

    def __init__(self, catalogue: Catalogue, journals: Journals, moved: Callable[[], None]) -> None:
        self._catalogue = catalogue
        self._journals = journals
        self._told = moved
        self._limiter = anyio.CapacityLimiter(1)  # one thread writes
        self._wanted = anyio.Event()
        self._moved = anyio.Event()
        #: Up to where the catalogue is whole, how far back, and when it was last seen to move, by the monotonic clock.
        self.at = Position("", 0)
        self.reach = Reach(None, [])
        self.moved_at = time.monotonic()
        #: Events that were applied so far.
        self.applied = 0
        self._built = True  # a whole journal was read, and not all of the memory that it took was given back

    @property
    def behind(self) -> int:
        """How many events the journal is ahead."""
        history = self._journals.history
        return history.last - self.at.offset if history.epoch == self.at.epoch else len(history)

    def oldest(self) -> float | None:
        """When the oldest event of the history was, Unix seconds; None where that is the journal's first."""
        history = self._journals.history
        return _moment(history.line(history.first)) if history.first > 1 else None

    async def run(self) -> None:
        """Follow until cancelled; what is under way in the database is waited for, not for long.

        :raises Away: the database doesn't answer. Fenced: somebody else writes there.
        :raises redis.RedisError: Redis doesn't answer, while it is needed.
        """
        await self.look()
        history = self._journals.history
        async with anyio.create_task_group() as group:
            while True:
                if history.epoch != self.at.epoch or self.at.offset < history.first - 1:
                    if await self._resume():
                        group.start_soon(self._fill)
                elif self.at.offset < history.last:
                    start = time.monotonic()
                    stretch = history.stretch(self.at.offset, _MOST)
                    await self._apply(stretch.telling, stretch.last)
                    await self._rest(time.monotonic() - start)
                else:
                    if self._built:
                        self._built = False
                        give_back()
                    await self._journals.grown()

    async def look(self) -> None:
        """Look how far the catalogue is; another relay may write it."""
        self._move(await self._in_thread(self._catalogue.position))
        self.reach = await self._in_thread(self._catalogue.reach)

    async def asked(self, seconds: float) -> None:
        """Wait until somebody asks for more than there is, or for so long."""
        with anyio.move_on_after(seconds):
            await self._wanted.wait()
            await anyio.sleep(_ASKED)
        self._wanted = anyio.Event()

    async def reached(self, wanted: Position) -> None:
        """Wait until the catalogue is as far as that, in its epoch. What lacks is written at once."""
        while self.at.epoch != wanted.epoch or self.at.offset < wanted.offset:
            self._wanted.set()
            await self._moved.wait()

    async def forget(self, older_than: float, limit: int) -> int:
        """Forget some of what is older than a moment; returns how many tasks."""
        gone = await self._in_thread(partial(self._catalogue.retain, older_than, limit))
        self.reach = await self._in_thread(self._catalogue.reach)
        return gone

    async def check(self) -> None:
        """See whether the catalogue's file is still there.

        :raises Removed: it isn't.
        """
        await self._in_thread(self._catalogue.check)

    async def _rest(self, spent: float) -> None:
        """Let more come together; as long as the portion took, at least, so that others get the processor, too."""
        if self.behind < _MOST:
            with anyio.move_on_after(max(_REST, spent)):
                await self._wanted.wait()
        self._wanted = anyio.Event()

    async def _apply(self, events: Callable[[], Sequence[tuple[int, bytes]]], last: int) -> None:
        epoch = self._journals.history.epoch

        def apply() -> None:
            told = events()
            for start in range(0, len(told), _DECODED):
                portion = told[start : start + _DECODED]
                whole = start + _DECODED >= len(told)
                self._catalogue.apply(epoch, portion, last if whole else portion[-1][0])
            if not told:
                self._catalogue.apply(epoch, (), last)

        await self._in_thread(apply)
        self.applied += last - self.at.offset
        self._move(Position(epoch, last))

    async def _resume(self) -> bool:
        """Go on where the history begins; returns whether anything is missing before that."""
        history = self._journals.history
        if self.at.epoch == history.epoch and await self._read_stream():
            return False
        epoch, first, kept = history.epoch, history.first, history.kept_lines()
        since = _moment(history.line(first)) if first > 1 else None
        ended, last = history.ended or ("", 0)
        lost = last - self.at.offset if self.at.epoch and ended == self.at.epoch else None
        begin = partial(self._catalogue.begin, epoch, first, kept, since=since, now=time.time(), lost=lost)
        missing = bool(self.at.epoch)
        await self._in_thread(begin)
        if missing:
            logger.warning("events have left the journal before they were in the archive; it tells of a gap")
        await self.look()
        return missing

    async def _read_stream(self) -> bool:
        """Take from the stream what has left the history; returns whether all of it was there."""
        history, journal = self._journals.history, self._journals.journal
        start = f"({entry_id(self.at.epoch, self.at.offset)}"
        async for batch in entries(self._journals.redis, journal.stream, start):
            fresh = self.at.offset + 1 - batch.first
            if batch.epoch != self.at.epoch or fresh < 0:
                return False
            lines = list(enumerate(batch.lines[fresh:], self.at.offset + 1))
            await self._apply(lines.copy, batch.last)
            if self.at.offset >= history.first - 1:
                return True
        return False

    async def _fill(self) -> None:
        """Look for the ends of tasks that the catalogue takes for unfinished, and the journal knows no more."""
        after = ""
        while page := await self._in_thread(partial(self._catalogue.unfinished, after, _PAGE)):
            after = page[-1]
            unknown = [each for each in page if not self._journals.history.has(f"task:{each}")]
            with contextlib.suppress(Unavailable):  # what isn't known now stays as it is
                found = [event for each in unknown if (event := await self._journals.stored(each)) is not None]
                await self._in_thread(partial(self._catalogue.complete, found))

    def _move(self, at: Position) -> None:
        moved = at != self.at
        if moved:
            self.moved_at = time.monotonic()
        self.at = at
        self._moved.set()
        self._moved = anyio.Event()
        if moved or not self.behind:  # that it can be read says nothing of whether it can be written
            self._told()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """Call in the one thread that writes. Who is cancelled waits for it, but not for long."""
        done = anyio.Event()
        loop = asyncio.get_running_loop()

        def called() -> T:
            try:
                return call()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(done.set)

        try:
            return await anyio.to_thread.run_sync(called, abandon_on_cancel=True, limiter=self._limiter)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(_FINISH, shield=True):
                await done.wait()
            raise


def _moment(line: bytes | None) -> float | None:
    try:
        return decode(line or b"").timestamp
    except InvalidEvent:
        return None
