"""Look-ups for many tasks at once: what the result backend has stored, and what the journal knows."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from itertools import islice
from typing import Any, Final, NamedTuple

import anyio
import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from watcher.core.backoff import TO_REDIS
from watcher.core.event import is_final
from watcher.core.order import rank
from watcher.direct.pubsub_connection import REFUSALS
from watcher.journal.layout import SECRET_LENGTH, Journal, entry, open_lines
from watcher.journal.reader import entries
from watcher.journal.scripts import KNOWN, sha_of

__all__ = ["NOTHING", "JournalPeek", "JournalSearch", "LiveFilter", "Lookup", "LookupBatches", "LookupResult", "peek"]

logger = logging.getLogger("watcher.direct")

_KNOWN: Final = sha_of(KNOWN)
#: The ranks of which the journal keeps the newest event of an unfinished task.
_RANKS: Final = range(rank("RETRY") + 1)


class JournalPeek(msgspec.Struct, frozen=True):
    """As much of an event as says whose it is, whether it ends its task, and where that is if not."""

    id: str
    state: str
    source: str = ""
    late: bool = False
    retries: int | None = None
    queue: str | None = None
    hostname: str | None = None
    reason: str | None = None

    @property
    def ends(self) -> bool:
        """Whether it ends its task: a final state that nothing had superseded when it arrived."""
        return is_final(self.state) and not self.late


class LookupResult(NamedTuple):
    """What was found of one task.

    :param stored: what the result backend has, as it is; None where there is nothing.
    :param standing: of its current state in the journal, as :func:`watcher.core.order.standing` has it; empty where the
        journal doesn't know it.
    :param epoch: of the journal, and ``lines``, with their offsets: its newest events of each rank, while it has not
        ended. Only where they were asked for.
    """

    stored: bytes | None
    standing: str = ""
    epoch: str = ""
    lines: Sequence[tuple[int, bytes]] = ()

    @property
    def state(self) -> str:
        """The journal's current state of it, or nothing."""
        return self.standing.partition(" ")[2]

    @property
    def ended(self) -> bool:
        """Whether the journal knows that it has ended."""
        return is_final(self.state)


class LiveFilter(NamedTuple):
    """What is believed on the live channel: what has a code by ``secret``, of ``epoch`` and beyond ``offset``.

    Whoever listens there may say again what he has heard, with other lines: of a place that is in the stream already.
    """

    secret: bytes
    epoch: str
    offset: int


#: Believes nothing: each event is a reason to look its task up.
NOTHING: Final = LiveFilter(b"", "", 0)


class LookupBatches:
    """Names that are to be carried somewhere: one batch at a time, which grows while there is much to do.

    :param carry: carries some; what it raises for reasons of Redis is tried again, with the same names.
    :param refused: told of those that Redis will not answer for.
    """

    def __init__(
        self, carry: Callable[[list[str]], Awaitable[None]], refused: Callable[[str, Exception], None], most: int
    ) -> None:
        self._carry = carry
        self._refused = refused
        self._most = most
        self._asked: dict[str, None] = {}
        self._stirred = anyio.Event()

    def __contains__(self, name: str) -> bool:
        """Whether ``name`` waits to be carried."""
        return name in self._asked

    def ask(self, name: str) -> None:
        """Carry ``name``, with the next batch that begins."""
        self._asked[name] = None
        self._stirred.set()

    async def run(self) -> None:
        """Carry the names; never returns, ends by cancellation."""
        attempt = 0
        while True:
            names = list(islice(self._asked, self._most))
            if not names:
                await self._stirred.wait()
                self._stirred = anyio.Event()
                continue
            for name in names:
                del self._asked[name]
            try:
                await self._carry(names)
                attempt = 0
            except REFUSALS as error:
                for name in names:
                    self._refused(name, error)
            except (RedisError, OSError) as error:
                logger.debug("Redis can't be reached (%s); retrying", error)
                self._asked = {**dict.fromkeys(names), **self._asked}
                await anyio.sleep(TO_REDIS.seconds(attempt))
                attempt += 1


class Lookup:
    """Reads backend and journal.

    :param results: the result backend's Redis, ``redis`` the journal's; the same one where they share a database.
    :param prefix: of the keys that results are stored under.
    """

    def __init__(self, results: Redis, prefix: str, redis: Redis, journal: Journal) -> None:
        self._results = results
        self._prefix = prefix
        self._redis = redis
        self._journal = journal

    async def stored(self, identities: Sequence[str]) -> list[bytes | None]:
        """The stored result of each task, undecoded; None where there is none."""
        payloads: Any = await self._results.mget([f"{self._prefix}{identity}" for identity in identities])
        return list(payloads)

    async def live(self) -> LiveFilter:
        """The filter for the journal's live channel from now on; makes the secret if there is none."""
        key = self._journal.live_secret
        for _ in range(2):
            pipeline: Any = self._redis.pipeline(transaction=True)
            _ = pipeline.mget([key])  # only queued: there is nothing to wait for
            _ = pipeline.xrevrange(self._journal.stream, count=1)
            values, newest = await pipeline.execute(raise_on_error=False)
            if isinstance(values, Exception) or isinstance(newest, Exception):
                break
            if values[0] is not None:
                last = entry(newest[0]) if newest else None
                return LiveFilter(values[0], last.epoch if last else "", last.last if last else 0)
            with suppress(ResponseError):  # full, a replica, no right to
                await self._redis.set(key, secrets.token_hex(SECRET_LENGTH // 2), nx=True)
        return NOTHING

    async def known_to_journal(self, identities: Sequence[str], with_lines: Sequence[str]) -> dict[str, LookupResult]:
        """What the journal knows of those that it knows, and of ``with_lines`` the events too, as of one moment."""
        fields = [f"{rank}:{identity}" for identity in with_lines for rank in _RANKS]
        try:
            replies = await self._ask(identities, fields)
        except NoScriptError:  # Redis was started anew, or this is the first look at it
            await self._redis.script_load(KNOWN)
            replies = await self._ask(identities, fields)
        epoch, values = replies[3] if fields else (b"", [])
        looks: dict[str, LookupResult] = {}
        for standings in replies[:3]:
            for identity, standing in zip(identities, standings, strict=True):
                if standing is not None:
                    looks[identity] = LookupResult(None, standing.decode("ascii", "replace"))
        for index, identity in enumerate(with_lines):
            look = looks.get(identity, LookupResult(None))
            lines = open_lines(values[len(_RANKS) * index : len(_RANKS) * (index + 1)])
            looks[identity] = look._replace(epoch=epoch.decode("ascii"), lines=lines)
        return looks

    async def _ask(self, identities: Sequence[str], fields: Sequence[str]) -> list[Any]:
        journal = self._journal
        pipeline: Any
        async with self._redis.pipeline(transaction=True) as pipeline:
            for key in (journal.closed_older, journal.closed, journal.open):  # the last one that knows it is right
                pipeline.hmget(key, list(identities))
            if fields:
                pipeline.evalsha(_KNOWN, 2, journal.stream, journal.open_lines, *fields)
            replies: list[Any] = await pipeline.execute()
        return replies


class JournalSearch:
    """Searches the journal for the events of tasks that have ended, from the newest one backwards."""

    def __init__(self, redis: Redis, journal: Journal) -> None:
        self._redis = redis
        self._journal = journal

    async def of(self, identities: Iterable[str]) -> tuple[str, dict[str, list[tuple[int, bytes]]]]:
        """The journal's epoch, and by task the events that it has, oldest first, with their offsets.

        It ends where the sender's ``PENDING`` of each was found, else at the journal's begin.
        """
        missing = set(identities)
        events: dict[str, list[tuple[int, bytes]]] = {identity: [] for identity in missing}
        newest = ""
        async with aclosing(entries(self._redis, self._journal.stream, "+", backwards=True)) as past:
            async for batch in past:
                newest = newest or batch.epoch
                for offset in range(batch.last, batch.first - 1, -1):
                    line = batch.lines[offset - batch.first]
                    event = peek(line)
                    if event is None or event.id not in missing:
                        continue
                    events[event.id].append((offset, line))
                    if event.state == "PENDING" and not event.retries and not event.late:
                        missing.discard(event.id)
                if not missing:
                    break
        return newest, {identity: lines[::-1] for identity, lines in events.items()}


def peek(line: bytes) -> JournalPeek | None:
    """The few fields of an event that waits need; None if the line is no event."""
    try:
        return msgspec.json.decode(line, type=JournalPeek)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
