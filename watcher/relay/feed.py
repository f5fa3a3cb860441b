"""The journal as it grows: in order, without a gap, whatever happens to Redis.

Pub/sub forgets a message the moment nobody listens, so it serves as a bell and a fast lane only: the feed subscribes,
then reads the stream from the last offset that it has, and drops what it has seen. A jump in the offsets is a hole, and
it reads the stream. After each break it looks whether the last event that it has is still there; where it is another,
the stream was rewound (a replica that lagged was promoted, a backup restored), and gets a new epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from watcher.entries import entries
from watcher.journal import Batch, Journal, entry, entry_id, open_line, open_lines, parse_live
from watcher.relay.outage import why
from watcher.relay.positions import Positions
from watcher.relay.subscriber import subscribed
from watcher.scripts import BEGIN, KNOWN

__all__ = ["Feed", "Sink", "Snapshot"]

logger = logging.getLogger(__name__)

#: Unfinished tasks asked for at once, about: one reply stays within a few MiB.
_PAGE: Final = 1000
#: What is more than is kept here is let go of in pieces of so many bytes, or of a page: each moves all that stays.
_SPARE: Final = 4 * 1024 * 1024
#: A hole in the offsets is filled where it is no larger than this.
_HOLE: Final = 10_000
#: Reading all of a journal takes less than this, in seconds.
_CATCH_UP: Final = 30.0
#: So often it is looked whether the journal can be appended to, in seconds.
_LOOK: Final = 2.0
_BACKOFF: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole journal at one moment.

    :param first: offset of the first of ``lines``, or of the next event where there is none.
    :param kept: older events of unfinished tasks, ascending by offset.
    """

    epoch: str
    first: int
    kept: Sequence[tuple[int, bytes]]
    lines: Sequence[bytes]


class Sink(Protocol):
    """Where the feed leads. All is called on the event loop and must not wait."""

    def restart(self, snapshot: Snapshot) -> None:
        """Here is the journal; nothing that was handed over before holds any more."""

    def extend(self, lines: Sequence[bytes]) -> None:
        """Here are the next events."""

    def disturb(self, trouble: str | None) -> None:
        """Events may be late from now on, and why; None: no longer."""


class _Rewound(Exception):
    """The stream is not the one that was read before."""


class Feed:
    """Reads the journal into a sink until it is cancelled.

    :param redis: a client that neither decodes nor retries, with short socket time-outs.
    """

    def __init__(self, redis: Redis, journal: Journal, positions: Positions, sink: Sink) -> None:
        self._redis = redis
        self._journal = journal
        self._sink = sink
        self._begin = redis.register_script(BEGIN)
        self._positions = positions
        self._known = redis.register_script(KNOWN)
        self._epoch = ""
        self._offset = 0
        self._newest = b""  # the event at _offset: what tells a rewound stream from one that grew
        #: Why the feed is not caught up, or None where it is.
        self.trouble: str | None = "starting"
        #: Once it has read the journal, or Redis refuses to begin one (a replica, memory that is full).
        self.tried = anyio.Event()

    async def run(self) -> None:
        """Feed the sink; returns never, ends by cancellation. A break is logged once, and its end once."""
        attempt = 0
        while True:
            try:
                async with subscribed(self._redis, self._journal.live) as subscriber:
                    await self._catch_up()
                    attempt = 0
                    async with anyio.create_task_group() as group:
                        group.start_soon(self._look_beside)
                        await subscriber.listen(self._hear, self._hear_slowly)
            except* (RedisError, OSError, TimeoutError) as errors:
                error = _first(errors)
                reason, refused = str(error) or type(error).__name__, isinstance(error, ResponseError)
                if self.trouble is None or attempt == 0:
                    begun = self.trouble != "starting"
                    what = "Redis refuses the journal" if refused and not begun else "the connection to Redis broke"
                    logger.warning("%s (%s); trying again", what, reason)
                self._say(f"Redis: {why(error)}")
                if refused:
                    self.tried.set()
            except* _Rewound:
                logger.warning("the journal in Redis was rewound; it gets a new epoch")
            await anyio.sleep(_BACKOFF[min(attempt, len(_BACKOFF) - 1)])
            attempt += 1

    # Catching up: subscribe, then read, then listen.

    async def _catch_up(self) -> None:
        with anyio.fail_after(_CATCH_UP):
            epoch, first, last = await self._positions.position()
            if epoch != self._epoch:
                await self._restart(epoch, first)
            else:
                await self._verify(first, last)
                await self._read()
        if self.trouble not in (None, "starting"):
            logger.info("connected to Redis again")
        self._say(None)
        self.tried.set()

    def _say(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._sink.disturb(trouble)

    async def _restart(self, epoch: str, first: int) -> None:
        """Read the whole journal, the unfinished tasks last: what has left the stream meanwhile has gone to them.

        :param first: offset of the next event, should the stream be empty.
        """
        lines: list[bytes] = []
        size, oldest = 0, 0
        async for batch in entries(self._redis, self._journal.stream, epoch):
            oldest = oldest or batch.first
            # The script leaves no hole, but somebody else may: what is missing counts as lines that are no events,
            # and where that is much, what lies before it is lost.
            hole = batch.first - first - len(lines)
            if not lines or hole > _HOLE:
                first, lines, size = batch.first, [], 0
            else:
                lines += [b""] * hole
            fresh = batch.lines[max(0, first + len(lines) - batch.first) :]
            lines += fresh
            size += sum(map(len, fresh))
            if len(lines) > self._journal.history + _PAGE or size > self._journal.history_bytes + _SPARE:
                gone, size = self._excess(lines, size)
                del lines[:gone]
                first += gone
        gone, size = self._excess(lines, size)
        del lines[:gone]
        first += gone
        kept = await self._kept(oldest, first)
        self._epoch, self._offset = epoch, first + len(lines) - 1
        self._newest = lines[-1] if lines else b""
        self._sink.restart(Snapshot(epoch, first, kept, lines))

    async def _kept(self, oldest: int, first: int) -> list[tuple[int, bytes]]:
        """The events of unfinished tasks that lie before the offset ``first``, ascending.

        :param oldest: offset of the stream's first event a moment ago.
        """
        kept: dict[int, bytes] = {}
        places: list[bytes] = []
        strange = 0
        async for field, value in self._redis.hscan_iter(self._journal.open_lines, count=_PAGE):
            try:
                offset, line = open_line(value)
            except ValueError:
                strange += 1
                continue
            if line and offset < first:
                kept[offset] = line
            elif oldest <= offset < first:
                places.append(field)  # the stream has more than is kept here, or had
        if strange:
            logger.warning("passed over %d entries of %s that are no events", strange, self._journal.open_lines)
        for start in range(0, len(places), _PAGE):
            _, known = await self._known(
                keys=[self._journal.stream, self._journal.open_lines], args=places[start : start + _PAGE]
            )
            kept.update((offset, line) for offset, line in open_lines(known) if offset < first)
        return sorted(kept.items())

    def _excess(self, lines: Sequence[bytes], size: int) -> tuple[int, int]:
        """How many lines from the front are more than a journal holds, and the size of the others.

        Its script sees to that, but somebody else may write there too, or with other bounds.
        """
        gone, most = 0, len(lines) - 1
        while gone < most and (size > self._journal.history_bytes or most - gone >= self._journal.history):
            size -= len(lines[gone])
            gone += 1
        return gone, size

    async def _verify(self, first: int, last: int) -> None:
        """Look whether the event that was read last is still the one at its offset."""
        if not self._newest or self._offset < first:
            return  # nothing was read yet, or it was trimmed
        found: Any = await self._redis.xrange(
            self._journal.stream, entry_id(self._epoch, self._offset), entry_id(self._epoch, last), count=1
        )
        if found:
            batch = entry(found[0])
            place = self._offset - batch.first
            if 0 <= place < len(batch.lines) and batch.lines[place] == self._newest:
                return
        keys, arguments = self._journal.begin(entry_id(self._epoch, last))
        await self._begin(keys=keys, args=arguments)
        raise _Rewound

    async def _read(self) -> None:
        """Read the stream from the last offset on."""
        start = f"({entry_id(self._epoch, self._offset)}"
        async with aclosing(entries(self._redis, self._journal.stream, start)) as following:
            async for batch in following:
                fresh = self._offset + 1 - batch.first
                if batch.epoch != self._epoch or fresh < 0:
                    # More came than the journal keeps: what follows doesn't follow on what is here.
                    await self._restart(batch.epoch, batch.first)
                    return
                self._hand_on(batch.lines[fresh:])

    async def _look_beside(self) -> None:
        """See now and then whether anybody can append, and say so where nobody can.

        Where something else has taken a place beside the stream, or Redis takes no writes (a replica, memory that is
        full, too few replicas), each call of the script fails, and nothing comes of which this feed would learn.
        """
        places = (self._journal.open, self._journal.open_lines, self._journal.closed, self._journal.closed_older)
        while True:
            wrong: str | None = None
            cause: Exception | None = None
            for place in places:
                try:
                    _ = await self._redis.hlen(place)
                except ResponseError as error:
                    wrong, cause = f"Redis: {place}: {why(error)}", error
                except (RedisError, OSError):
                    wrong = self.trouble  # who listens finds that out
                    break
            if wrong is None:
                wrong, cause = await self._refused()
            if wrong is not None and self.trouble is None:
                logger.warning("nobody can append to the journal (%s; %s)", wrong, cause)
            elif wrong is None and self.trouble is not None:
                logger.info("the journal can be appended to again")
            self._say(wrong)
            await anyio.sleep(_LOOK)

    async def _refused(self) -> tuple[str | None, Exception | None]:
        """Why Redis takes no writes, for clients and for the log, or None; the rest is found out by who listens."""
        try:
            # A write that needs memory, and changes nothing: this key is there within a script only.
            await self._redis.set(self._journal.begin()[0][-1], "", xx=True)
        except NoPermissionError:  # a relay may be one that only reads
            return None, None
        except ResponseError as error:
            return f"Redis takes no writes: {why(error)}", error
        except (RedisError, OSError) as error:
            return self.trouble, error
        return None, None

    # Listening.

    def _hear(self, messages: Sequence[bytes]) -> int:
        """Take what one read of the socket brought, as far as it follows on what is here, and hand it on in one go.

        While the sink sends, more comes, and the next read brings all of it. There is no turn of the event loop from
        the read to the sink in which it would have to wait for what is sent meanwhile: at 400 events a second to 1,000
        subscribers that doubles what each takes to arrive.
        """
        lines: list[bytes] = []
        for count, message in enumerate(messages):
            try:
                batch = parse_live(message)
            except ValueError:
                self._pass_over()
                continue
            if batch.epoch != self._epoch or batch.first != self._offset + len(lines) + 1:
                self._hand_on(lines)
                return count
            lines += batch.lines
        self._hand_on(lines)
        return len(messages)

    async def _hear_slowly(self, message: bytes) -> None:
        """Take a message that doesn't follow on what is here: find out from the stream what lies in between."""
        batch = parse_live(message)
        if batch.epoch != self._epoch or batch.first <= self._offset:
            await self._compare()
        elif batch.first > self._offset + 1:
            await self._read()
        self._accept(batch)

    def _pass_over(self) -> None:
        logger.warning("passed over a message on %s that is no batch of events", self._journal.live)

    async def _compare(self) -> None:
        """Look whether the journal is the one that is being read, after what was published says otherwise.

        Redis is asked, for anybody can publish. What is told of a place that was passed was mostly read meanwhile, but
        it may be that something else was taken for it.
        """
        epoch, first, last = await self._positions.position()
        if epoch != self._epoch:
            await self._restart(epoch, first)
        else:
            await self._verify(first, last)

    def _accept(self, batch: Batch) -> None:
        """Take what is new in ``batch``, of which a read of the stream may have brought a part already."""
        fresh = self._offset + 1 - batch.first
        if batch.epoch == self._epoch and 0 <= fresh < len(batch.lines):
            self._hand_on(batch.lines[fresh:])

    def _hand_on(self, lines: Sequence[bytes]) -> None:
        if lines:
            self._offset += len(lines)
            self._newest = lines[-1]
            self._sink.extend(lines)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
