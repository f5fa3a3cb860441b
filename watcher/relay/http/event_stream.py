"""The server-sent events of one reader, in order. Pure, like the history that it reads.

There is no queue: a reader has a cursor, and takes the next piece of the history when it has room. A slow or stuck
reader costs a cursor and one piece in flight, and loses nothing that the history still has. If the history no longer
reaches back to the cursor, the reader gets an event ``gap`` and continues from now.

The format is the HTML standard's, 9.2 (https://html.spec.whatwg.org/multipage/server-sent-events.html). A block with an
id but no data advances what a browser sends as ``Last-Event-ID``; pages don't see it.
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
#: A comment that keeps the connection open. It ends no block, so it is never taken for an event.
_COMMENT: Final = b":\n"


class StreamCursor(NamedTuple):
    """What a reader has seen: everything up to ``offset`` of ``epoch``. An empty epoch means the current one."""

    epoch: str
    offset: int

    @classmethod
    def read(cls, text: str, where: str) -> StreamCursor:
        """Parse ``EPOCH:OFFSET``.

        :param where: where the text comes from, for the error message.
        :raises BadRequest: it is something else.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            raise BadRequest(f"{where}: expected EPOCH:OFFSET, the id of an event, not {text[:80]!r}")
        return cls(match[1], int(match[2]))


class EventStream:
    """The events of some channels for one reader, each event once.

    :param channels: channels to follow; an event on any of them is sent.
    :param since: what the reader has seen; None: nothing, so the stream begins now, with the newest event of each task
        among the channels.
    :param known: channel → event, for tasks that the history doesn't have; they have no offset.
    """

    __slots__ = ("_began", "_cursor", "_epoch", "_floors", "_history", "_opening", "_sent_id", "_snapshots", "sent")

    def __init__(
        self,
        history: History,
        channels: Iterable[str],
        since: StreamCursor | None,
        snapshots: Mapping[str, bytes] | None = None,
    ) -> None:
        self._history = history
        self._floors = dict.fromkeys(channels, 0)
        self._began = since is not None
        self._epoch, self._cursor = since or ("", 0)
        if self._began and not self._epoch:
            self._epoch = history.epoch
        self._sent_id = -1  # offset of the last id that the reader was sent
        self._snapshots = snapshots or {}
        self._opening: list[int] | None = None  # offsets of what it begins with, the first one last
        #: Number of events sent.
        self.sent = 0

    def next(self, limit: int) -> bytes:
        """The next bytes to send; empty if the reader has everything.

        :param limit: about how many bytes of events.
        """
        if self._began and not self._continues():
            # The journal has a new epoch, or the next events are gone.
            self._begin()
            return b'event: gap\ndata: {"epoch":"%s","offset":%d}\n\n' % (self._epoch.encode(), self._cursor)
        if not self._began:
            self._begin()
            newest = [line for channel, line in self._snapshots.items() if not self._has(channel)]
            self.sent += len(newest)
            if newest:
                return b"".join(b"data: %s\n\n" % line for line in newest)
        if self._opening is not None:
            return self._open(limit)
        piece = self._history.since(self._floors, self._cursor, limit)
        self._cursor = piece.cursor
        # An event on several channels comes once for each of them, one right after the other.
        return self._blocks({offset: line for _, offset, line in piece.events})

    def idle(self) -> bytes:
        """Bytes that keep a quiet connection open and advance the reader's id."""
        return _COMMENT + self._position()

    def _continues(self) -> bool:
        if self._epoch != self._history.epoch:
            return False
        return all(self._history.is_whole(channel, self._cursor) for channel in self._floors)

    def _begin(self) -> None:
        """Begin with the current state."""
        self._began = True
        self._epoch, self._cursor = self._history.epoch, self._history.last
        newest = {offset for channel in self._floors if (offset := self._newest(channel))}
        self._opening = sorted(newest, reverse=True)

    def _newest(self, channel: str) -> int:
        """Offset of the event that made a task's state; 0 if there is none, and for other channels."""
        if channel.startswith("task:"):
            for offset, line in self._history.newest(channel):
                if not decode(line).late:
                    return offset
        return 0

    def _has(self, channel: str) -> bool:
        return next(self._history.newest(channel), None) is not None

    def _open(self, limit: int) -> bytes:
        """Part of the initial events, and at their end the id to continue from."""
        blocks: dict[int, bytes] = {}
        size = 0
        while self._opening and size < limit:
            offset = self._opening.pop()
            if (line := self._history.line(offset)) is not None:
                blocks[offset] = line
                size += len(line)
        opening = self._blocks(blocks)
        if self._opening:
            return opening
        self._opening = None
        return opening + self._position()

    def _blocks(self, lines: dict[int, bytes]) -> bytes:
        if not lines:
            return b""
        self.sent += len(lines)
        self._sent_id = next(reversed(lines))
        epoch = self._epoch.encode()
        return b"".join([b"id: %s:%d\ndata: %s\n\n" % (epoch, offset, line) for offset, line in lines.items()])

    def _position(self) -> bytes:
        """The id to resume from, if it is not the last one sent."""
        if self._sent_id == self._cursor:
            return b""
        self._sent_id = self._cursor
        return b"id: %s:%d\n\n" % (self._epoch.encode(), self._cursor)
