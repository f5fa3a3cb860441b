"""The journal as it grows: in order, without a gap, whatever happens to Redis. It feeds the relay, not its clients.

Pub/sub forgets a message the moment nobody listens, so it serves as a bell and a fast lane only: the feed subscribes,
then reads the stream from the last offset that it has, and drops what it has seen. A jump in the offsets is a hole, and
it reads the stream. The lane is for what the journal's script has published, which has a code by the journal's secret;
for whoever else may publish there it is a bell, and the stream says what is true.

After each break it looks whether the last event that it has is still there; where it is another, the stream was rewound
(a replica that lagged was promoted, a backup restored), and gets a new epoch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Protocol

import anyio
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from watcher.core.backoff import TO_REDIS
from watcher.journal.layout import Batch, Journal, entry, entry_id, is_authentic, parse_live
from watcher.journal.reader import entries
from watcher.journal.subscriber import Message, subscribed
from watcher.relay.common.outage import why
from watcher.relay.stream.obstacles import obstacle
from watcher.relay.stream.positions import Positions
from watcher.relay.stream.snapshot import JournalSnapshot, snapshot

__all__ = ["Feed", "Sink"]

logger = logging.getLogger(__name__)

#: Time limit for reading a whole journal, in seconds.
_CATCH_UP: Final = 30.0
#: Seconds between two checks whether the journal can be appended to.
_LOOK: Final = 2.0
#: Seconds between two looks at the journal that anybody could ask for by publishing …
_PAUSE: Final = 0.02
#: … and between two lines in the log about them.
_SAY: Final = 10.0


class Sink(Protocol):
    """Takes what the feed reads. All of it is called on the event loop and must not block."""

    def restart(self, snapshot: JournalSnapshot) -> None:
        """Take a whole journal, in place of everything taken before."""

    def extend(self, lines: Sequence[bytes]) -> None:
        """Take the next events."""

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
        self._positions = positions
        self._epoch = ""
        self._offset = 0
        self._newest = b""  # the event at _offset: what tells a rewound stream from one that grew
        self._heard = 0  # offset of the last event that was published: others may have been read from the stream
        self._secret = b""  # of the live channel; it comes with each look at where the journal stands
        self._doubts = anyio.Event()  # something was published that is only a reason to look
        self._reading = anyio.Lock()  # one reads the stream at a time
        self._restarting = False  # then nothing may be handed on
        self._foreign = 0  # messages that no writer of the journal has published, since the log told of some …
        self._told_of_foreign = -_SAY  # … at that time
        #: Why the feed is not caught up, or None where it is.
        self.trouble: str | None = "starting"
        #: Once it has read the journal, or Redis refuses to begin one (a replica, memory that is full).
        self.tried = anyio.Event()

    async def run(self) -> None:
        """Feed the sink; never returns, ends by cancellation. A break is logged once, and its end once."""
        attempt = 0
        while True:
            try:
                async with subscribed(self._redis, self._journal.live) as subscriber:
                    await self._catch_up()
                    attempt = 0
                    async with anyio.create_task_group() as group:
                        group.start_soon(self._look_beside)
                        group.start_soon(self._look_again)
                        await subscriber.listen(self._hear, self._hear_slowly)
            except* (RedisError, OSError, TimeoutError) as errors:
                error = _first(errors)
                reason, refused = str(error) or type(error).__name__, isinstance(error, ResponseError)
                if self.trouble is None or attempt == 0:
                    begun = self.trouble != "starting"
                    what = (
                        "Redis refused access to the journal"
                        if refused and not begun
                        else "the connection to Redis broke"
                    )
                    logger.warning("%s (%s); retrying", what, reason)
                self._say(f"Redis: {why(error)}")
                if refused:
                    self.tried.set()
            except* _Rewound:
                logger.warning("the journal in Redis was rewound; it gets a new epoch")
            await anyio.sleep(TO_REDIS.seconds(attempt))
            attempt += 1

    # Catching up: subscribe, then read, then listen.

    async def _catch_up(self) -> None:
        with anyio.fail_after(_CATCH_UP):
            await self._look()
        if self.trouble not in (None, "starting"):
            logger.info("connected to Redis again")
        self._say(None)
        self.tried.set()

    def _say(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._sink.disturb(trouble)

    async def _restart(self, epoch: str, first: int) -> None:
        """Read the whole journal; nothing is handed on meanwhile.

        :param first: offset of the next event, should the stream be empty.
        """
        self._restarting = True
        try:
            journal_snapshot = await snapshot(self._redis, self._journal, epoch, first)
        finally:
            self._restarting = False
        if epoch != self._epoch:
            self._heard = 0
        self._epoch, self._offset = epoch, journal_snapshot.first + len(journal_snapshot.lines) - 1
        self._newest = journal_snapshot.lines[-1] if journal_snapshot.lines else b""
        self._sink.restart(journal_snapshot)

    async def _look(self) -> None:
        """See whether the journal is the one that is being read, and read what is new; all of it, if it is another.

        :raises _Rewound: the event that was read last is not the one at its offset any more.
        """
        offset, newest = self._offset, self._newest  # what is heard while this waits moves them
        epoch, first, last, self._secret = await self._positions.position()
        if epoch != self._epoch:
            await self._restart(epoch, first)
            return
        if newest and offset >= first:  # else nothing was read yet, or it was trimmed
            await self._verify(offset, newest, last)
        await self._read()

    async def _verify(self, offset: int, newest: bytes, last: int) -> None:
        entries: Any = await self._redis.xrange(
            self._journal.stream, entry_id(self._epoch, offset), entry_id(self._epoch, max(offset, last)), count=1
        )
        if entries:
            batch = entry(entries[0])
            index = offset - batch.first
            if 0 <= index < len(batch.lines) and batch.lines[index] == newest:
                return
        await self._positions.position(entry_id(self._epoch, last))
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
        """Check now and then whether the journal can be appended to, and report where it can't."""
        while True:
            with suppress(RedisError, OSError):  # who listens finds that out
                obstacle_found = await obstacle(self._redis, self._journal)
                if obstacle_found is not None and self.trouble is None:
                    logger.warning(
                        "the journal can't be appended to (%s; %s)", obstacle_found.reason, obstacle_found.error
                    )
                elif obstacle_found is None and self.trouble is not None:
                    logger.info("the journal can be appended to again")
                self._say(obstacle_found.reason if obstacle_found is not None else None)
            await anyio.sleep(_LOOK)

    async def _look_again(self) -> None:
        """Look at the journal after an unauthenticated message; not too often."""
        while True:
            await self._doubts.wait()
            self._doubts = anyio.Event()
            async with self._reading:
                await self._look()
            self._tell_of_foreign()
            await anyio.sleep(_PAUSE)

    # Listening.

    def _hear(self, messages: Sequence[Message]) -> int:
        """Take what one read of the socket brought, as far as it follows on what is here, and hand it on in one go.

        While the sink sends, more comes, and the next read brings all of it. There is no turn of the event loop from
        the read to the sink in which it would have to wait for what is sent meanwhile: at 400 events a second to 1,000
        subscribers that doubles what each takes to arrive.
        """
        if self._restarting:
            return 0
        lines: list[bytes] = []
        for count, message in enumerate(messages):
            batch = self._batch_of(message.data)
            if batch is None:
                continue
            fresh = self._offset + len(lines) + 1 - batch.first
            if batch.epoch != self._epoch or fresh < 0:
                self._hand_on(lines)
                return count
            self._hear_of(batch)
            lines += batch.lines[fresh:] if fresh else batch.lines  # else it was read from the stream meanwhile
        self._hand_on(lines)
        return len(messages)

    async def _hear_slowly(self, message: Message) -> None:
        """Take a message that doesn't follow on what is here: find out from the stream what lies in between."""
        batch = self._batch_of(message.data)
        if batch is None:
            return
        async with self._reading:
            if batch.epoch != self._epoch:
                await self._look()
            elif batch.first > self._offset + 1:
                await self._read()
        fresh = self._offset + 1 - batch.first
        if batch.epoch == self._epoch and fresh >= 0:
            self._hear_of(batch)
            self._hand_on(batch.lines[fresh:])

    def _hear_of(self, batch: Batch) -> None:
        if batch.first <= self._heard:  # said twice: by somebody who has heard it too, or the stream was rewound
            self._doubts.set()
        self._heard = max(self._heard, batch.last)

    def _batch_of(self, message: bytes) -> Batch | None:
        """The batch that a writer of the journal published; None for any other message, which is a reason to look."""
        try:
            batch = parse_live(message)
        except ValueError:
            self._foreign += 1
        else:
            if is_authentic(message, batch, self._secret):
                return batch
            if not batch.lines and batch.epoch == self._epoch:
                return None  # that the journal was begun, which is known
            self._foreign += bool(batch.lines)
        self._doubts.set()
        return None

    def _tell_of_foreign(self) -> None:
        now = time.monotonic()
        if self._foreign and now - self._told_of_foreign >= _SAY:
            what = "ignored %d messages on %s without a valid code; the stream is read instead"
            logger.warning(what, self._foreign, self._journal.live)
            self._foreign, self._told_of_foreign = 0, now

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
