"""A relay's archive: what is known of all tasks, found and counted, whatever becomes of its database.

A database that is slow, full or away holds nothing up but the answers that come from it: they say why. The relay goes
on, and the archive catches up when the database is back.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
from msgspec import Raw
from redis.exceptions import RedisError

from watcher.catalogue.catalogue import (
    Away,
    Catalogue,
    Counts,
    Fenced,
    Listed,
    Page,
    Position,
    Reach,
    Removed,
    Unusable,
)
from watcher.core.backoff import Backoff
from watcher.core.errors import SettingError, TooMany, Unavailable
from watcher.core.event import Task
from watcher.core.figures import CountBy, NameStats, Series
from watcher.core.filters import Filter
from watcher.core.permissions import Grant
from watcher.core.settings import Settings
from watcher.relay.api.schemas import Overview, Rates
from watcher.relay.archive.following import Follower, Journals
from watcher.relay.archive.location import Location
from watcher.relay.common.coalescing import Coalescer
from watcher.relay.common.stats import ArchiveFigures
from watcher.relay.limits.bounded_threads import BoundedThreads, ThreadsBusy
from watcher.relay.safety_net.lease import Lease, LeaseLost

__all__ = ["Archive"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_decode_task = msgspec.json.Decoder(Task).decode

#: Between two attempts to reach the database.
_AGAIN: Final = Backoff(first=0.25, longest=10.0)
#: A server is waited for so long at the start, in seconds: nobody is served before.
_START: Final = 1.0
#: Questions that are answered at a time; one that has no answer after so many seconds is refused.
_THREADS: Final = 4
_ANSWER: Final = 10.0
#: A task that the history doesn't know is looked for so long, in seconds: the result backend may know it, too.
_FIND: Final = 2.0
#: Who asks waits so long, in seconds, for the catalogue to be as far as the journal.
_PATIENCE: Final = 2.0
#: Seconds between two looks at a catalogue that another relay writes, and after how many it should have moved.
_LOOK: Final = 1.0
_STUCK: Final = 10.0
#: Seconds between two looks for what is too old; of a temporary catalogue, which is to hold as much as the journal.
_RETAIN: Final = 60.0
_RETAIN_TEMPORARY: Final = 10.0
_DAY: Final = 86_400.0
#: Tasks forgotten in one transaction, and seconds between two of these.
_FORGET: Final = 500
_PAUSE: Final = 0.05
#: An archive that is so many events behind says so: it is more than comes together between two portions.
_MUCH: Final = 10_000


class Archive:
    """The archive of one relay; :meth:`run` keeps it.

    :param settings: where it is, and for how long it remembers.
    :raises SettingError: there is no such place.
    """

    def __init__(self, settings: Settings, journals: Journals) -> None:
        self._location = Location(settings)
        self._days = settings.archive_days
        self._journals = journals
        self._threads = BoundedThreads(_THREADS)
        self._found: Coalescer[str, Raw | None] = Coalescer(self._find)
        self._catalogue: Catalogue | None = None
        self._follower: Follower | None = None
        self._lease = Lease(journals.redis, journals.journal.archive_lease(self._location.digest))
        self._opened = False
        self._tried = anyio.Event()  # it was found out whether the database answers
        self._attempt = 0
        self._errors = 0
        self._writes = False
        self._why: str | None = "it is not open yet"

    @property
    def trouble(self) -> str | None:
        """Why it lacks much of what the journal has, or can't answer; None where it has and can."""
        if self._why is not None:
            return self._why
        behind = self._behind
        return f"it is being built: {behind} of the journal's events are yet to come" if behind > _MUCH else None

    @property
    def reach(self) -> Reach:
        """How far back it is whole, and what is missing since."""
        return self._follower.reach if self._follower is not None else Reach(None, [])

    @property
    def figures(self) -> ArchiveFigures:
        """Numbers for the metrics."""
        applied = self._follower.applied if self._follower is not None else 0
        skipped = self._catalogue.skipped if self._catalogue is not None else 0
        gaps = len(self.reach.gaps)
        return ArchiveFigures(self._behind, applied, self._errors, gaps, skipped, self._writes, self.trouble)

    async def open(self) -> None:
        """Take the place, and look whether it can be used; :meth:`run` does so by itself, but can't tell an operator.

        :raises SettingError: it can't. A server that doesn't answer is waited for later, by :meth:`run`.
        """
        self._opened = True
        self._location.hold()
        try:
            with anyio.fail_after(_START if self._location.shared else None):
                # A file that is being made is waited for, even by who is cancelled: it would be left behind.
                self._catalogue = await anyio.to_thread.run_sync(
                    self._location.open, abandon_on_cancel=self._location.shared
                )
        except TimeoutError:
            self._fail(Away("it has not answered yet"))
        except (Unusable, Away) as error:
            if isinstance(error, Away) and self._location.shared:
                self._fail(error)
                return
            self._location.leave()
            raise self._location.refused(error) from None

    def close(self) -> None:
        """Give the place back; what was temporary is gone then."""
        if self._catalogue is not None:
            self._catalogue.close()
        self._location.leave()

    async def run(self) -> None:
        """Keep the catalogue up to date; returns never, ends by cancellation."""
        try:
            if not self._opened:
                await self.open()
            await self._journals.loaded()
            while True:
                try:
                    await self._keep()
                except* (Away, Fenced, Unusable, SettingError, LeaseLost, RedisError, OSError, TimeoutError) as errors:
                    self._fail(_first(errors))
                    if isinstance(_first(errors), Removed):
                        await self._drop()
                await anyio.sleep(_AGAIN.seconds(self._attempt))
                self._attempt += 1
        finally:
            self.close()

    # What is asked. Each may be cancelled, and raises Unavailable where the archive can't tell now.

    async def list(self, wanted: Listed, grant: Grant) -> Page:
        """A page of tasks, as of the journal's newest event when this was called.

        :raises ValueError: ``before`` is not what a page said. Unavailable: the archive can't tell now.
        """
        return await self._ask(lambda catalogue: catalogue.list(wanted, grant, time.time()))

    async def get(self, task_id: str, grant: Grant) -> Raw | None:
        """One task; None where it isn't known, or may not be seen."""
        return await self._ask(lambda catalogue: catalogue.get(task_id, grant))

    async def find(self, task_id: str) -> Task | None:
        """One task, whoever may see it, as of some moment lately; None where it isn't known, or can't be told now.

        It waits for nothing but its turn: the history has what is newer. Many are looked up together.
        """
        if self._why is not None:
            return None
        with contextlib.suppress(Unavailable, TooMany, TimeoutError):
            found = await self._found.get(task_id, _FIND)
            return None if found is None else _decode_task(found)
        return None

    async def _find(self, task_ids: Sequence[str]) -> Sequence[Raw | None]:
        catalogue = self._catalogue
        if catalogue is None:
            return [None] * len(task_ids)
        try:
            return await self._threads.run(lambda: catalogue.several(task_ids), _FIND)
        except Away:
            return [None] * len(task_ids)

    async def counts(self, chosen: Filter, grant: Grant, by: Sequence[CountBy]) -> Counts:
        """How many tasks there are, by up to two values."""
        return await self._ask(lambda catalogue: catalogue.counts(chosen, grant, by, time.time()))

    async def series(self, chosen: Filter, grant: Grant, span: tuple[float, float], buckets: int) -> Series:
        """What happened in a span of time, from and to (Unix seconds), in so many buckets at most."""
        return await self._ask(lambda catalogue: catalogue.series(chosen, grant, span, buckets, time.time()))

    async def names(self, chosen: Filter, grant: Grant, since: float | None) -> Sequence[NameStats]:
        """The tasks by name, most first."""
        return await self._ask(lambda catalogue: catalogue.names(chosen, grant, since, time.time()))

    async def overview(self) -> Overview:
        """What the channel ``overview`` tells: of all tasks."""
        numbers = await self._ask(lambda catalogue: catalogue.numbers(time.time()))
        return Overview(
            states=numbers.states, kinds=numbers.kinds, total=numbers.total, rates=Rates(**numbers.rates),
            since=self.reach.since, archive=self.trouble,
        )  # fmt: skip

    async def _ask(self, call: Callable[[Catalogue], T]) -> T:
        catalogue = await self._up_to_date()
        try:
            return await self._threads.run(lambda: call(catalogue), _ANSWER)
        except Away as error:
            logger.warning("the archive's database can't answer (%s)", error)
            raise Unavailable("the archive's database doesn't answer") from None
        except ThreadsBusy:
            raise TooMany("the archive is asked too much at once") from None
        except TimeoutError:
            raise Unavailable("the archive's database takes too long to answer") from None

    async def _up_to_date(self) -> Catalogue:
        """The catalogue, once it is as far as the journal is now."""
        with anyio.move_on_after(_PATIENCE):
            await self._tried.wait()
            history, follower = self._journals.history, self._follower
            if self._why is None and self._catalogue is not None and follower is not None:
                await follower.reached(Position(history.epoch, history.last))
                return self._catalogue
        why = self.trouble or f"it is {self._behind} events behind the journal"
        raise Unavailable(f"the archive can't tell: {why}")

    # Keeping it.

    async def _keep(self) -> None:
        if not self._location.held:
            self._location.hold()
        if self._catalogue is None:
            self._catalogue = await anyio.to_thread.run_sync(self._location.open)
        if self._follower is None:
            self._follower = Follower(self._catalogue, self._journals, self._moved)
        if not self._location.shared:
            await self._write()
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, self._follower)
            await self._lease.hold(self._write)

    async def _write(self) -> None:
        if self._follower is None:
            return
        self._writes = True
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._retain, self._follower)
                group.start_soon(self._check, self._follower)
                await self._follower.run()
        finally:
            self._writes = False

    async def _watch(self, follower: Follower) -> None:
        """Follow the relay that writes, while this one doesn't."""
        while True:
            if not self._writes:
                await follower.look()
                still = time.monotonic() - follower.moved_at
                if follower.behind and still > _STUCK:
                    self._why = f"no relay has written it for {still:.0f} s"
            await follower.asked(_LOOK)

    async def _retain(self, follower: Follower) -> None:
        """Forget what is too old, by and by."""
        while True:
            await anyio.sleep(_RETAIN if self._location.lasting else _RETAIN_TEMPORARY)
            oldest = time.time() - self._days * _DAY if self._location.lasting else follower.oldest()
            gone = _FORGET if oldest is not None else 0
            while oldest is not None and gone == _FORGET:
                gone = await follower.forget(oldest, _FORGET)
                await anyio.sleep(_PAUSE)

    async def _check(self, follower: Follower) -> None:
        """See now and then whether the file is still there, while nothing is written."""
        while not self._location.shared:
            await anyio.sleep(_LOOK)
            await follower.check()

    async def _drop(self) -> None:
        """Let go of a file that is gone, so that another one is made in its place."""
        catalogue, self._catalogue, self._follower = self._catalogue, None, None
        if catalogue is not None:
            await anyio.to_thread.run_sync(catalogue.close)
        self._location.leave()

    def _moved(self) -> None:
        if self._why is not None and self._errors:
            logger.info("the archive follows the journal again")
        self._why, self._attempt = None, 0
        self._tried.set()

    def _fail(self, error: BaseException) -> None:
        self._errors += 1
        if isinstance(error, (Unusable, SettingError)):
            why = str(error)
        elif isinstance(error, Removed):
            why = f"{error}; it is built again from the journal"
        elif isinstance(error, Away):
            why = "its database doesn't answer, or takes nothing more"
        else:
            why = f"it can't be written now ({type(error).__name__})"
        if self._why != why:
            logger.warning("the archive doesn't follow the journal (%s); retrying", str(error) or type(error).__name__)
        self._why = why
        self._tried.set()

    @property
    def _behind(self) -> int:
        return self._follower.behind if self._follower is not None else len(self._journals.history)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
