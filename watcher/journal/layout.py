"""Every Redis key and channel name that the project uses, and what is written there.

The journal is a stream of events with an offset each: 1, 2, 3, … without a hole. An entry holds some that follow each
other, and its id is ``EPOCH-OFFSET`` of the last; the epoch changes only when Redis has lost or rewound the stream.
Beside it stand the hashes of unfinished tasks, and what is remembered of finished ones so that a late event can be told
from a new one. One call of a script (:mod:`watcher.journal.scripts`) appends a batch, keeps all of this, and publishes
the batch: all of it or nothing, because the first write is the one that a full Redis refuses.

The names carry the hash tag of the namespace; the live channel carries the database number too, since PUBLISH ignores
databases. Redis 6.2 and later, and Valkey, run the scripts: no functions, no sharded channels, no ``XADD id-*``.

This module does no I/O: it builds the arguments and reads the replies.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

__all__ = [
    "BATCH_BYTES",
    "BATCH_EVENTS",
    "SECRET_LENGTH",
    "Appended",
    "Batch",
    "Journal",
    "Record",
    "batches",
    "entry",
    "entry_id",
    "is_authentic",
    "open_line",
    "open_lines",
    "parse_live",
]

#: A batch holds at most this many events (Lua's ``unpack`` ends at about 8,000 values) …
BATCH_EVENTS: Final = 500
#: … and about this many bytes, so that one call never holds Redis for long.
BATCH_BYTES: Final = 512 * 1024
# An entry of the stream holds at most so many events, and about so many bytes: enough that it costs little beside them,
# few enough that whoever looks for one event doesn't get much else.
_ENTRY_EVENTS: Final = 64
_ENTRY_BYTES: Final = 16 * 1024
#: How long the live channel's secret is, in characters …
SECRET_LENGTH: Final = 32
#: … and the code by it that a message has.
_CODE_LENGTH: Final = 40
#: A repeated batch is recognised for this long, in seconds: far longer than anyone retries.
WRITER_TTL: Final = 3600


class Record(NamedTuple):
    """One event on its way into the journal: its task's id, its :func:`watcher.core.order.standing`, its line."""

    id: str
    standing: str
    line: bytes


class Appended(NamedTuple):
    """Where the journal stands after an append, and how many events of the batch it took."""

    epoch: str
    offset: int
    taken: int


class Batch(NamedTuple):
    """Events that follow each other in the journal: ``lines[i]`` has the offset ``first + i``."""

    epoch: str
    first: int
    lines: list[bytes]

    @property
    def last(self) -> int:
        """Offset of the last line; ``first - 1`` where there is none."""
        return self.first + len(self.lines) - 1


@dataclass(frozen=True, slots=True)
class Journal:
    """The names and bounds of one installation's journal.

    :param namespace: separates installations on one database.
    :param database: number of the Redis database that the keys are in.
    :param history: how many events the stream keeps; it may be a few dozen more, since entries leave as a whole.
    :param history_bytes: how many bytes of events the stream keeps; whichever bound is reached first holds.
    """

    namespace: str = "watcher"
    database: int = 0
    history: int = 100_000
    history_bytes: int = 64 * 1024 * 1024

    def _key(self, name: str) -> str:
        return f"{{{self.namespace}}}:{name}"

    @property
    def stream(self) -> str:
        """Stream of all events, bounded; :mod:`watcher.journal.scripts` tells the fields, :func:`entry` reads them."""
        return self._key("journal")

    @property
    def open(self) -> str:
        """Hash: id of an unfinished task → the standing of its current state."""
        return self._key("open")

    @property
    def open_lines(self) -> str:
        """Hash: ``RANK:ID`` of an unfinished task → ``OFFSET``, its newest event of that rank.

        Where that has left the stream, ``OFFSET LINE``.
        """
        return self._key("open:lines")

    @property
    def closed(self) -> str:
        """Hash: id of a recently finished task → the standing of its final state. The younger generation."""
        return self._key("closed")

    @property
    def closed_older(self) -> str:
        """The older generation of :attr:`closed`, dropped whole when the younger one is full."""
        return self._key("closed:older")

    @property
    def live(self) -> str:
        """Channel on which each appended batch is published, see :func:`parse_live`."""
        return self._key(f"live:{self.database}")

    @property
    def live_secret(self) -> str:
        """String: the secret that the codes of messages on :attr:`live` are made with; see :func:`is_authentic`.

        Whoever may read the journal may read it; those who may only publish can't.
        """
        return self._key("live:secret")

    @property
    def quiet(self) -> str:
        """Channel on which nothing is published: it keeps a connection in subscribed mode while it needs no other."""
        return self._key("quiet")

    @property
    def lease(self) -> str:
        """String: which relay is completing the journal from the result backend."""
        return self._key("lease")

    def archive_lease(self, place: str) -> str:
        """String: which relay writes the catalogue at a place that several share."""
        return self._key(f"archive:{place}")

    @property
    def heard(self) -> str:
        """String: when a relay last listened to the result backend, in Unix seconds by Redis' clock."""
        return self._key("heard")

    @property
    def workers(self) -> str:
        """Hash: ``HOSTNAME INCARNATION`` of a worker → ``STARTED LAST``, Unix seconds: by its clock, by Redis'."""
        return self._key("workers")

    def writer(self, writer: str) -> str:
        """String: number of the last batch that this writer appended."""
        return self._key(f"writer:{writer}")

    def claim(self, key: str) -> str:
        """String: what was submitted under this task id or idempotency key."""
        return self._key(f"claim:{key}")

    def append(self, writer: str, number: int, records: Sequence[Record]) -> tuple[list[str], list[str | int | bytes]]:
        """Keys and arguments of a call of :data:`watcher.journal.scripts.APPEND`.

        :param writer: the id of the writing process, random; unique to one sequence of numbers.
        :param number: 1, 2, 3, … A number that is not greater than the last one is a repeat, and ignored.
        :param records: at most :data:`BATCH_EVENTS`.
        """
        keys = [*_appended_to(self), self.writer(writer)]
        entries = [records] if len(records) == 1 else list(_cut(records, _ENTRY_EVENTS, _ENTRY_BYTES))
        ids, standings = [record.id for record in records], [record.standing for record in records]
        sizes = [len(entry) for entry in entries]  # in events
        arguments: list[str | int | bytes] = [number, WRITER_TTL, self.history, self.history_bytes, self.live]
        # One argument: what Lua is given one by one costs it more.
        arguments.append(msgspec.msgpack.encode((ids, standings, sizes)))
        arguments += [b"\n".join([record.line for record in entry]) for entry in entries]
        return keys, arguments

    def begin(self, secret: str, rewound: str = "") -> tuple[list[str], list[str]]:
        """Keys and arguments of a call of :data:`watcher.journal.scripts.BEGIN`.

        :param secret: what :attr:`live_secret` becomes where there is none; random, :data:`SECRET_LENGTH` long.
        :param rewound: the stream's last id, where what lies before it is known to be not what was there once: then
            the journal gets a new epoch, unless the stream ends elsewhere by now.
        """
        return [self.stream, self.live_secret, self.renewed], [rewound, self.live, secret]

    @property
    def renewed(self) -> str:
        """The stream while it gets a new epoch: it is there within a script only."""
        return self._key("renewed")


@functools.lru_cache(maxsize=64)
def _appended_to(journal: Journal) -> tuple[str, ...]:
    """The keys of each append; made once, for they go with every batch that a worker tells."""
    return (
        journal.stream, journal.open, journal.open_lines, journal.closed, journal.closed_older, journal.live_secret
    )  # fmt: skip


def entry_id(epoch: str, offset: int) -> str:
    """The stream id of one offset: that of its entry, or where it is not the entry's last, one before that."""
    return f"{epoch}-{offset}"


def entry(raw: tuple[bytes, dict[bytes, bytes]]) -> Batch:
    """The events of one entry as XRANGE gives it (undecoded).

    Where somebody else has written what can't be that many events, they are lines without anything.
    """
    identity, fields = raw
    epoch, _, last = identity.decode("ascii").partition("-")
    line, number = fields.get(b"e", b""), fields.get(b"n", b"1")
    count = int(number) if number.isdigit() and len(number) <= 3 else 1
    lines = [line]
    if 1 < count <= min(BATCH_EVENTS, int(last)):
        lines = line.split(b"\n")
        if len(lines) != count:
            lines = [b""] * count
    return Batch(epoch, int(last) - len(lines) + 1, lines)


def parse_live(message: bytes) -> Batch:
    """Read what the live channel carried: ``EPOCH FIRST CODE``, then a line an event. No line: only the epoch is new.

    Anybody may have published it, see :func:`is_authentic`. There is no code while the journal has no secret.

    :raises ValueError: the message is not of this form.
    """
    head, *lines = message.split(b"\n")
    epoch, first, *code = head.split()
    if len(code) > 1:
        raise ValueError("more than a code")
    if not _is_offset(first):
        raise ValueError("no offset")
    return Batch(epoch.decode("ascii"), int(first), lines)


def is_authentic(message: bytes, batch: Batch, secret: bytes) -> bool:
    """Whether a message on the live channel has the code of its place, by the journal's secret.

    Then the script has published it, or somebody who has heard it from there: after all who listen, and after it was
    in the stream. One that has none is a reason to look at the stream, and no more: it takes nothing but a right to
    publish.

    :param batch: what :func:`parse_live` has read of it.
    :param secret: what :attr:`Journal.live_secret` holds; nothing is authentic without one.
    """
    end = message.find(b"\n")
    position, _, code = message[: max(end, 0)].rpartition(b" ")
    if not secret or len(code) != _CODE_LENGTH:
        return False
    # Not called security, for builds of OpenSSL that refuse it then; keyed as it is no collision of it helps anybody.
    wanted = hashlib.sha1(b"%b%b %d%b" % (secret, position, batch.last, secret), usedforsecurity=False).hexdigest()
    return hmac.compare_digest(wanted.encode("ascii"), code)


def open_line(value: bytes) -> tuple[int, bytes]:
    """Offset and line of one value of :attr:`Journal.open_lines`; no line where it is in the stream yet.

    :raises ValueError: the value is not of this form.
    """
    offset, _, line = value.partition(b" ")
    if not _is_offset(offset):
        raise ValueError("no offset")
    return int(offset), line


def open_lines(values: Iterable[bytes | None]) -> list[tuple[int, bytes]]:
    """Offsets and lines that unfinished tasks are known by, ascending; what is no event is passed over.

    :param values: what :data:`watcher.journal.scripts.KNOWN` has replied.
    """
    lines = []
    for value in values:
        with suppress(ValueError):
            lines.append(open_line(value or b""))
    return sorted((offset, line) for offset, line in lines if line)


def _is_offset(text: bytes) -> bool:
    """Whether it is a number as Redis writes that of an entry (64 bits, unsigned)."""
    return text.isdigit() and len(text) <= 20 and 0 < int(text) < 2**64


def batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut ``records`` into pieces that each respect :data:`BATCH_EVENTS` and :data:`BATCH_BYTES`."""
    return _cut(records, BATCH_EVENTS, BATCH_BYTES)


def _cut(records: Sequence[Record], most: int, most_bytes: int) -> Iterator[Sequence[Record]]:
    """Pieces of at most that many records and bytes of lines; a record that is larger is alone."""
    start = size = 0
    for index, record in enumerate(records):
        size += len(record.line)
        if index > start and (index - start >= most or size > most_bytes):
            yield records[start:index]
            start, size = index, len(record.line)
    if start < len(records):
        yield records[start:]
