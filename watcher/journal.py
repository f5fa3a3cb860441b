"""Every Redis key and channel name that the project uses, and the scripts that keep the journal.

The journal is a stream whose ids are ``EPOCH-OFFSET``: offsets count 1, 2, 3, … without a hole, and the epoch changes
only when Redis has lost or rewound the stream. Beside it stand the hashes of unfinished tasks, and what is remembered
of finished ones so that a late event can be told from a new one. One script call appends a batch, keeps all of this,
and publishes the batch: all of it or nothing, because the first write is the one that a full Redis refuses.

The names carry the hash tag of the namespace; the live channel carries the database number too, since PUBLISH ignores
databases. Redis 6.2 and later, and Valkey, run the scripts: no functions, no sharded channels, no ``XADD id-*``.

This module does no I/O: it builds the arguments and reads the replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = [
    "APPEND",
    "BATCH_BYTES",
    "BATCH_EVENTS",
    "BEAT",
    "BEGIN",
    "Appended",
    "Batch",
    "Journal",
    "Record",
    "batches",
    "entry",
    "entry_id",
    "open_line",
    "parse_live",
]

#: A batch holds at most this many events (Lua's ``unpack`` ends at about 8,000 values) …
BATCH_EVENTS: Final = 500
#: … and about this many bytes, so that one call never holds Redis for long.
BATCH_BYTES: Final = 512 * 1024
#: A repeated batch is recognised for this long, in seconds: far longer than anyone retries.
WRITER_TTL: Final = 3600


class Record(NamedTuple):
    """One event on its way into the journal: its task's id, its :func:`watcher.event.standing`, its line."""

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
    :param history: how many events the stream keeps.
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
        """Stream of all events, bounded; fields ``e`` (the line) and ``b`` (bytes of all lines before it)."""
        return self._key("journal")

    @property
    def open(self) -> str:
        """Hash: id of an unfinished task → the standing of its current state."""
        return self._key("open")

    @property
    def open_lines(self) -> str:
        """Hash: ``RANK:ID`` of an unfinished task → ``OFFSET LINE``, its newest event of that rank."""
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
    def quiet(self) -> str:
        """Channel on which nothing is published: it keeps a connection subscribed that would be to nothing else."""
        return self._key("quiet")

    @property
    def lease(self) -> str:
        """String: which relay is completing the journal from the result backend."""
        return self._key("lease")

    @property
    def workers(self) -> str:
        """Hash: hostname of a worker → ``STARTED LAST``, Unix seconds: by its own clock, and by that of Redis."""
        return self._key("workers")

    def writer(self, writer: str) -> str:
        """String: number of the last batch that this writer appended."""
        return self._key(f"writer:{writer}")

    def claim(self, key: str) -> str:
        """String: what was submitted under this task id or idempotency key."""
        return self._key(f"claim:{key}")

    def append(self, writer: str, number: int, records: Sequence[Record]) -> tuple[list[str], list[str | int | bytes]]:
        """Keys and arguments of an :data:`APPEND` call.

        :param writer: the id of the writing process, random; unique to one sequence of numbers.
        :param number: 1, 2, 3, … A number that is not greater than the last one is a repeat, and ignored.
        :param records: at most :data:`BATCH_EVENTS`.
        """
        keys = [self.stream, self.open, self.open_lines, self.closed, self.closed_older, self.writer(writer)]
        arguments: list[str | int | bytes] = [number, WRITER_TTL, self.history, self.history_bytes, self.live]
        for record in records:
            arguments += record
        return keys, arguments

    def begin(self, rewound: str = "") -> tuple[list[str], list[str]]:
        """Keys and arguments of a :data:`BEGIN` call.

        :param rewound: the stream's last id, where what lies before it is known to be not what was there once: then
            the journal gets a new epoch, unless the stream ends elsewhere by now.
        """
        return [self.stream, self._key("renewed")], [rewound, self.live]


def entry_id(epoch: str, offset: int) -> str:
    """The stream id of one offset."""
    return f"{epoch}-{offset}"


def entry(raw: tuple[bytes, dict[bytes, bytes]]) -> tuple[str, int, bytes]:
    """Epoch, offset and line of one entry as XRANGE gives it (undecoded)."""
    identity, fields = raw
    epoch, _, offset = identity.decode("ascii").partition("-")
    return epoch, int(offset), fields.get(b"e", b"")


def parse_live(message: bytes) -> Batch:
    """Read what the live channel carried: ``EPOCH FIRST``, then a line an event. No line: only the epoch is new.

    :raises ValueError: the message is not of this form.
    """
    head, *lines = message.split(b"\n")
    epoch, first = head.split()
    if not _is_offset(first):
        raise ValueError("no offset")
    return Batch(epoch.decode("ascii"), int(first), lines)


def open_line(value: bytes) -> tuple[int, bytes]:
    """Offset and line of one value of :attr:`Journal.open_lines`.

    :raises ValueError: the value is not of this form.
    """
    offset, _, line = value.partition(b" ")
    if not _is_offset(offset):
        raise ValueError("no offset")
    return int(offset), line


def _is_offset(text: bytes) -> bool:
    """Whether it is a number as Redis writes that of an entry (64 bits, unsigned)."""
    return text.isdigit() and len(text) <= 20 and 0 < int(text) < 2**64


def batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut ``records`` into pieces that each respect :data:`BATCH_EVENTS` and :data:`BATCH_BYTES`."""
    start = size = 0
    for index, record in enumerate(records):
        size += len(record.line)
        if index > start and (index - start >= BATCH_EVENTS or size > BATCH_BYTES):
            yield records[start:index]
            start, size = index, len(record.line)
    if start < len(records):
        yield records[start:]


# Where a stream stands. XINFO's reply is a flat list whose order differs between versions, so it is read by name.
# Anybody may have written there: what is missing or no number counts as 0, for an error would stop all appending.
_POSITION: Final = """
local function number(text)
  local found = tonumber(text or '')
  return found and found >= 0 and found < 2 ^ 53 and found or 0
end

local function position(stream)
  local found = {length = 0, epoch = false, offset = 0, bytes = 0, before = 0}
  if redis.call('EXISTS', stream) == 0 then return found end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    local name, value = info[i], info[i + 1]
    if name == 'length' then
      found.length = value
    elseif name == 'last-generated-id' then
      local epoch, offset = string.match(value, '^(%d+)-(%d+)$')
      found.id, found.epoch, found.offset = value, epoch, tonumber(offset)
    elseif name == 'last-entry' and value then
      found.bytes = number(value[2][4]) + #value[2][2]
    elseif name == 'first-entry' and value then
      found.before = number(value[2][4])
    end
  end
  return found
end

local function new_epoch()
  local now = redis.call('TIME')
  return now[1] .. string.format('%06d', tonumber(now[2]))
end

local function int(number) return string.format('%.0f', number) end
"""

#: A worker is there: KEYS the hash of workers; ARGV its hostname, and when it started. Redis' clock says when, so that
#: those of workers and relays may differ.
BEAT: Final = "return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. redis.call('TIME')[1])"

#: Append a batch: see :meth:`Journal.append` for the arguments and :class:`Appended` for the reply.
#:
#: A standing is ``RRRRRRrTTTTTTTTTT.TTTTTT STATE``: character 7 is the rank, 5 and more are final. So is REJECTED of
#: what was not sent, which ranks with PENDING.
APPEND: Final = (
    _POSITION
    + """
local stream, open, open_lines, closed, closed_older, writer = unpack(KEYS)
local batch, writer_ttl = tonumber(ARGV[1]), ARGV[2]
local max_events, max_bytes, live = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local at = position(stream)

local repeated = number(redis.call('GET', writer)) >= batch
if repeated or #ARGV == 5 then return {at.epoch or '', at.offset, 0} end

-- What is known of each task in the batch, looked up at once.
local ids, known = {}, {}
for i = 6, #ARGV, 3 do
  if known[ARGV[i]] == nil then known[ARGV[i]] = false; ids[#ids + 1] = ARGV[i] end
end
for _, hash in ipairs({closed_older, closed, open}) do
  local found = redis.call('HMGET', hash, unpack(ids))
  for i, id in ipairs(ids) do
    if found[i] then known[id] = found[i] end
  end
end

local epoch, offset, bytes = at.epoch or new_epoch(), at.offset, at.bytes
local published, touched = {}, {}
local function final(standing)
  return (string.byte(standing, 7) or 0) >= 53 or string.sub(standing, 26) == 'REJECTED'
end

for i = 6, #ARGV, 3 do
  local id, standing, line = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local current = known[id]
  local late = current and standing < current
  -- The same final state of the same try again (a time limit fires twice, a relay completes what came) says nothing.
  local same = current and final(standing) and string.sub(standing, 1, 7) == string.sub(current, 1, 7)
    and string.sub(standing, 25) == string.sub(current, 25)
  if not same then
    if late then line = string.sub(line, 1, -2) .. ',"late":true}' end
    offset = offset + 1
    redis.call('XADD', stream, epoch .. '-' .. int(offset), 'e', line, 'b', int(bytes))
    bytes = bytes + #line
    published[#published + 1] = line
    local touch = touched[id] or {}
    touched[id] = touch
    local rank = string.sub(standing, 7, 7)
    if not late then known[id] = standing end
    if not final(standing) and not (late and (final(current) or rank == string.sub(current, 7, 7))) then
      touch[rank .. ':' .. id] = int(offset) .. ' ' .. line
    end
  end
end
redis.call('SET', writer, ARGV[1], 'EX', writer_ttl)
if #published == 0 then return {epoch, offset, 0} end

local gone_lines, gone, now_open, now_closed, now_lines = {}, {}, {}, {}, {}
local function add(list, a, b) list[#list + 1] = a; if b then list[#list + 1] = b end end
for id, lines in pairs(touched) do
  if final(known[id]) then
    for rank = 0, 4 do add(gone_lines, rank .. ':' .. id) end
    add(gone, id); add(now_closed, id, known[id])
  else
    add(now_open, id, known[id])
    for field, value in pairs(lines) do add(now_lines, field, value) end
  end
end
if #now_open > 0 then redis.call('HSET', open, unpack(now_open)) end
if #now_lines > 0 then redis.call('HSET', open_lines, unpack(now_lines)) end
if #gone > 0 then
  redis.call('HDEL', open, unpack(gone))
  redis.call('HDEL', open_lines, unpack(gone_lines))
  redis.call('HSET', closed, unpack(now_closed))
  if redis.call('HLEN', closed) > max_events then
    redis.call('UNLINK', closed_older)
    redis.call('RENAME', closed, closed_older)
  end
end

if at.length + #published > max_events then redis.call('XTRIM', stream, 'MAXLEN', '=', max_events) end
-- By bytes: an entry may stay if no more than max_bytes lie between its start and the end. Bounded work a call, so a
-- bound that was lowered by much is reached over several.
local from = bytes - max_bytes
if at.before < from then
  for _ = 1, 20 do
    local oldest, keep = redis.call('XRANGE', stream, '-', '+', 'COUNT', 100), nil
    for _, found in ipairs(oldest) do
      if number(found[2][4]) >= from then keep = found[1]; break end
    end
    if keep then redis.call('XTRIM', stream, 'MINID', '=', keep); break end
    if #oldest < 100 then redis.call('XTRIM', stream, 'MAXLEN', '=', 1); break end
    redis.call('XTRIM', stream, 'MINID', '=', oldest[#oldest][1])
  end
end

redis.call('PUBLISH', live, epoch .. ' ' .. int(offset - #published + 1) .. '\\n' .. table.concat(published, '\\n'))
return {epoch, offset, #published}
"""
)

#: Make sure that there is a journal, or give a rewound one a new epoch: see :meth:`Journal.begin`. Offsets stay, so
#: what was trimmed stays known. Replies with the epoch and the offsets of the first entry and of the last one that was
#: ever added (first = last + 1 where there is none).
BEGIN: Final = (
    _POSITION
    + """
local stream, renewed = unpack(KEYS)
local rewound, live = ARGV[1], ARGV[2]
local at = position(stream)
local epoch = at.epoch
if not epoch then
  -- An empty stream that ends at EPOCH-0: XADD can't make one, a group can.
  epoch = new_epoch()
  redis.call('XGROUP', 'CREATE', stream, 'begin', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', stream, 'begin')
  redis.call('XSETID', stream, epoch .. '-0')
  redis.call('PUBLISH', live, epoch .. ' 1')
elseif at.id == rewound then
  epoch = new_epoch()
  if epoch <= at.epoch then epoch = int(tonumber(at.epoch) + 1) end
  redis.call('DEL', renewed)
  redis.call('XGROUP', 'CREATE', renewed, 'begin', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', renewed, 'begin')
  local from = '-'
  while true do
    local found = redis.call('XRANGE', stream, from, '+', 'COUNT', 1000)
    for _, entry in ipairs(found) do
      redis.call('XADD', renewed, epoch .. '-' .. string.match(entry[1], '-(%d+)$'), unpack(entry[2]))
    end
    if #found < 1000 then break end
    from = '(' .. found[#found][1]
  end
  redis.call('XSETID', renewed, epoch .. '-' .. int(at.offset))
  redis.call('RENAME', renewed, stream)
  redis.call('PUBLISH', live, epoch .. ' ' .. int(at.offset + 1))
end
return {epoch, at.offset - at.length + 1, at.offset}
"""
)
