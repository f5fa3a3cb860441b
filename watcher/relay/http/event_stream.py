"""What one reader of server-sent events is given, in order. Pure, like the history that it reads.

There is no queue: a reader has a cursor, and takes the next piece of the history when it can take more. One that reads
slowly, or not at all, costs a cursor and the one piece that is on its way; it loses nothing that the history still has.
Where the history doesn't reach back to what it has seen, it is told so by an event ``gap``, and goes on from now.

The format is that of the HTML standard, 9.2 (https://html.spec.whatwg.org/multipage/server-sent-events.html). A block
with an id and no data moves what a browser sends as ``Last-Event-ID`` and is shown to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from watcher.core.errors import BadRequest
from watcher.core.event import decode
from watcher.relay.stream.history import History

__all__ = ["EventStream", "StreamCursor"]

_POSITION: Final = re.compile(r"([A-Za-z0-9._-]{0,64}):([0-9]{1,18})")
#: A comment: no block ends with it, so that nobody takes it for an event.
_COMMENT: Final = b":\n"


class StreamCursor(NamedTuple):
    """What a reader has seen: everything up to ``offset`` of ``epoch``. An empty epoch is whichever there is."""

    epoch: str
    offset: int

    @classmethod
    def read(cls, text: str, where: str) -> StreamCursor:
        """Read ``EPOCH:OFFSET``.

        :param where: it comes from, for the message.
        :raises BadRequest: it is something else.
        """
        found = _POSITION.fullmatch(text)
        if found is None:
            raise BadRequest(f"{where}: expected EPOCH:OFFSET, the id of an event, not {text[:80]!r}")
        return cls(found[1], int(found[2]))


class EventStream:
    """The events of some channels, each once, for one reader.

    :param channels: whose events are wanted; any of them suffices.
    :param since: what the reader has seen; None: nothing, and it begins now, with the newest event of each task that
        is among the channels.
    :param known: channel → event, for tasks that the history doesn't know: without a place in the journal.
    """

    __slots__ = ("_cursor", "_epoch", "_floors", "_history", "_known", "_opening", "_seen", "_told", "sent")

    def __init__(
        self,
        history: History,
        channels: Iterable[str],
        since: StreamCursor | None,
        known: Mapping[str, bytes] | None = None,
    ) -> None:
        self._history = history
        self._floors = dict.fromkeys(channels, 0)
        self._seen = since is not None
        self._epoch, self._cursor = since or ("", 0)
        if self._seen and not self._epoch:
            self._epoch = history.epoch
        self._told = -1  # offset of the last id that the reader was sent
        self._known = known or {}
        self._opening: list[int] | None = None  # offsets of what it begins with, the first one last
        #: How many events it was given.
        self.sent = 0

    def next(self, limit: int) -> bytes:
        """What comes next; empty where the reader has everything.

        :param limit: how many bytes of events, about.
        """
        if self._seen and not self._continues():
            # The journal is another one, or what came next is gone.
            self._begin()
            return b'event: gap\ndata: {"epoch":"%s","offset":%d}\n\n' % (self._epoch.encode(), self._cursor)
        if not self._seen:
            self._begin()
            newest = [line for channel, line in self._known.items() if not self._has(channel)]
            self.sent += len(newest)
            if newest:
                return b"".join(b"data: %s\n\n" % line for line in newest)
        if self._opening is not None:
            return self._open(limit)
        piece = self._history.since(self._floors, self._cursor, limit)
        self._cursor = piece.cursor
        # An event that is on several of the channels comes with each of them, one right after the other.
        return self._blocks({offset: line for _, offset, line in piece.events})

    def idle(self) -> bytes:
        """What keeps a quiet connection open, and says how far its reader has come."""
        return _COMMENT + self._position()

    def _continues(self) -> bool:
        if self._epoch != self._history.epoch:
            return False
        return all(self._history.is_whole(channel, self._cursor) for channel in self._floors)

    def _begin(self) -> None:
        """Begin now."""
        self._seen = True
        self._epoch, self._cursor = self._history.epoch, self._history.last
        newest = {offset for channel in self._floors if (offset := self._newest(channel))}
        self._opening = sorted(newest, reverse=True)

    def _newest(self, channel: str) -> int:
        """Offset of the event that made a task's state; 0 where there is none, and for other channels."""
        if channel.startswith("task:"):
            for offset, line in self._history.newest(channel):
                if not decode(line).late:
                    return offset
        return 0

    def _has(self, channel: str) -> bool:
        return next(self._history.newest(channel), None) is not None

    def _open(self, limit: int) -> bytes:
        """Part of what it begins with, and at its end where it goes on."""
        blocks: dict[int, bytes] = {}
        size = 0
        while self._opening and size < limit:
            offset = self._opening.pop()
            if (line := self._history.line(offset)) is not None:
                blocks[offset] = line
                size += len(line)
        given = self._blocks(blocks)
        if self._opening:
            return given
        self._opening = None
        return given + self._position()

    def _blocks(self, lines: dict[int, bytes]) -> bytes:
        if not lines:
            return b""
        self.sent += len(lines)
        self._told = next(reversed(lines))
        epoch = self._epoch.encode()
        return b"".join([b"id: %s:%d\ndata: %s\n\n" % (epoch, offset, line) for offset, line in lines.items()])

    def _position(self) -> bytes:
        """The id that a reader comes back with, where it isn't the last that it was sent."""
        if self._told == self._cursor:
            return b""
        self._told = self._cursor
        return b"id: %s:%d\n\n" % (self._epoch.encode(), self._cursor)
