"""All of the journal at one moment: what a feed begins with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from watcher.journal.layout import Journal, open_line, open_lines
from watcher.journal.reader import entries
from watcher.journal.scripts import KNOWN

__all__ = ["JournalSnapshot", "snapshot"]

logger = logging.getLogger(__name__)

#: Unfinished tasks asked for at once, about: one reply stays within a few MiB.
_PAGE: Final = 1000
#: What is more than is kept here is let go of in pieces of so many bytes, or of a page: each moves all that stays.
_SPARE: Final = 4 * 1024 * 1024
#: A hole in the offsets is filled where it is no larger than this.
_HOLE: Final = 10_000


@dataclass(frozen=True, slots=True)
class JournalSnapshot:
    """The whole journal at one moment.

    :param first: offset of the first of ``lines``, or of the next event where there is none.
    :param retained: older events of unfinished tasks, ascending by offset.
    """

    epoch: str
    first: int
    retained: Sequence[tuple[int, bytes]]
    lines: Sequence[bytes]


async def snapshot(redis: Redis, journal: Journal, epoch: str, first: int) -> JournalSnapshot:
    """Read the whole journal, the unfinished tasks last: what has left the stream meanwhile has gone to them.

    :param epoch: of the journal, a moment ago.
    :param first: offset of the next event, should the stream be empty.
    :raises redis.RedisError: Redis is away or refuses. OSError: it can't be reached.
    """
    lines: list[bytes] = []
    size, oldest = 0, 0
    async for batch in entries(redis, journal.stream, epoch):
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
        if len(lines) > journal.history + _PAGE or size > journal.history_bytes + _SPARE:
            gone, size = _excess(journal, lines, size)
            del lines[:gone]
            first += gone
    gone, size = _excess(journal, lines, size)
    del lines[:gone]
    first += gone
    return JournalSnapshot(epoch, first, await _retained(redis, journal, oldest, first), lines)


async def _retained(redis: Redis, journal: Journal, oldest: int, first: int) -> list[tuple[int, bytes]]:
    """The events of unfinished tasks that lie before the offset ``first``, ascending.

    :param oldest: offset of the stream's first event a moment ago.
    """
    lookup = redis.register_script(KNOWN)
    lines: dict[int, bytes] = {}
    fields: list[bytes] = []
    strange = 0
    async for field, value in redis.hscan_iter(journal.open_lines, count=_PAGE):
        try:
            offset, line = open_line(value)
        except ValueError:
            strange += 1
            continue
        if line and offset < first:
            lines[offset] = line
        elif oldest <= offset < first:
            fields.append(field)  # the stream has more than is kept here, or had
    if strange:
        logger.warning("ignored %d invalid entries of %s", strange, journal.open_lines)
    for start in range(0, len(fields), _PAGE):
        _, values = await lookup(keys=[journal.stream, journal.open_lines], args=fields[start : start + _PAGE])
        lines.update((offset, line) for offset, line in open_lines(values) if offset < first)
    return sorted(lines.items())


def _excess(journal: Journal, lines: Sequence[bytes], size: int) -> tuple[int, int]:
    """How many lines from the front are more than a journal holds, and the size of the others.

    Its script sees to that, but somebody else may write there too, or with other bounds.
    """
    gone, most = 0, len(lines) - 1
    while gone < most and (size > journal.history_bytes or most - gone >= journal.history):
        size -= len(lines[gone])
        gone += 1
    return gone, size
