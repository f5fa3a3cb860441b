r"""The scripts that Redis runs to keep the journal; :mod:`watcher.journal.layout` has their keys and arguments.

An entry of the stream holds the events of one writer that were appended together, up to a few dozen: ``e`` their lines,
``n`` how many (absent: one), ``b`` the bytes of all entries before it, ``o`` which of them unfinished tasks were known
by when it was written (absent: none), as MessagePack: position in the entry, field of ``open:lines``, and so on. Its id
is ``EPOCH-OFFSET`` of its last event. What a command costs is for the most part its call from Lua, so that one for each
event would take most of an append's time.

Of an unfinished task's newest event of each rank, ``open:lines`` has the offset. The line follows when the entry leaves
the stream: most tasks have ended by then, and their lines were never written twice.

Anybody may have written to these keys: what is missing or strange counts as nothing, for an error would stop all
appending.
"""

from __future__ import annotations

from typing import Final

from watcher.core.order import ORDER

__all__ = ["APPEND", "BEAT", "BEGIN", "KNOWN"]

# The lines of an entry.
_SPLIT: Final = """
local function split(lines)
  local found, from = {}, 1
  while true do
    local to = string.find(lines, '\\n', from, true)
    found[#found + 1] = string.sub(lines, from, to and to - 1)
    if not to then return found end
    from = to + 1
  end
end
"""

# An entry as XRANGE gives it: the offsets of its first and its last event, and its fields.
_ENTRY: Final = """
local function number(text)
  local found = tonumber(text or '')
  return found and found >= 0 and found < 2 ^ 53 and found or 0
end

local function entry(raw)
  local told = {}
  for i = 1, #raw[2], 2 do told[raw[2][i]] = raw[2][i + 1] end
  local count = number(told.n)
  told.last = tonumber(string.match(raw[1], '-(%d+)$'))
  told.first = count > 1 and count <= math.min(500, told.last) and told.last - count + 1 or told.last
  told.e, told.b = told.e or '', number(told.b)
  return told
end
"""

# Where a stream stands. XINFO's reply is a flat list whose order differs between versions, so it is read by name.
_POSITION: Final = """
local function int(number) return string.format('%.0f', number) end

local function position(stream)
  local found = {epoch = false, offset = 0, bytes = 0, oldest = false}
  local info = redis.pcall('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do  -- an error, since there is no stream, has none
    local name, value = info[i], info[i + 1]
    if name == 'last-generated-id' then
      local epoch, offset = string.match(value, '^(%d+)-(%d+)$')
      found.id, found.epoch, found.offset = value, epoch, tonumber(offset)
    elseif name == 'last-entry' and value then
      local newest = entry(value)
      found.bytes = newest.b + #newest.e
    elseif name == 'first-entry' then
      found.oldest = value
    end
  end
  return found
end

local function new_epoch()
  local now = redis.call('TIME')
  return now[1] .. string.format('%06d', tonumber(now[2]))
end
"""

# What is published of a batch: see :func:`watcher.journal.layout.parse_live`, and ``is_authentic``. SHA-1 is the one
# digest that scripts have; the secret is at both ends, so that nobody can lengthen what he has heard the code of.
_LIVE: Final = """
local function message(secret, epoch, first, last, lines)
  local head = epoch .. ' ' .. int(first)
  if secret then head = head .. ' ' .. redis.sha1hex(secret .. head .. ' ' .. int(last) .. secret) end
  return head .. '\\n' .. lines
end
"""

#: A worker is there: KEYS the hash of workers; ARGV its name there, and when it started. Redis' clock says when, so
#: that those of workers and relays may differ.
BEAT: Final = "return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. redis.call('TIME')[1])"

#: Append a batch: see :meth:`watcher.journal.layout.Journal.append` for the arguments and
#: :class:`watcher.journal.layout.Appended` for the reply.
#:
#: :mod:`watcher.core.order` has the rules by which an event supersedes its task's state, and the form of standings.
APPEND: Final = (
    _ENTRY
    + _SPLIT
    + _POSITION
    + _LIVE
    + ORDER
    + """
local stream, open, open_lines, closed, closed_older, live_secret, writer = unpack(KEYS)
local batch, writer_ttl = tonumber(ARGV[1]), ARGV[2]
local max_events, max_bytes, live = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local ids, standings, counts = unpack(cmsgpack.unpack(ARGV[6]))
local at = position(stream)

local last_batch, secret = unpack(redis.call('MGET', writer, live_secret))
local repeated = number(last_batch) >= batch
if repeated or #ids == 0 then return {at.epoch or '', at.offset, 0} end

-- What is known of each task in the batch: a task that has been opened again is in open and in closed.
-- Counters, here and below, because # looks for the end of a table each time.
local tasks, known, was_open, count = {}, {}, {}, 0
for i = 1, #ids do
  local id = ids[i]
  if known[id] == nil then
    known[id] = false
    count = count + 1
    tasks[count] = id
  end
end
local missing = tasks
for _, hash in ipairs({open, closed, closed_older}) do
  local found, others, count = redis.call('HMGET', hash, unpack(missing)), {}, 0
  for i = 1, #missing do
    local id = missing[i]
    local state = current(found[i])
    if state then
      known[id] = state
      was_open[id] = hash == open
    else
      count = count + 1
      others[count] = id
    end
  end
  missing = others
  if count == 0 then break end
end

-- Where each event stands; which events unfinished tasks are known by: touches has id, field, offset, entry of each.
local epoch, offset, event = at.epoch or new_epoch(), at.offset, 0
local entries, touches, ended, last = {}, {}, {}, 0
for piece, size in ipairs(counts) do
  local first, lines, edits = offset + 1, ARGV[6 + piece], nil
  for i = 1, size do
    event = event + 1
    local id, standing = ids[event], standings[event]
    local before, ends = known[id], final(standing)
    local stands = before and order(before, standing) or standing
    local late = stands == 'late'
    if stands == 'drop' then  -- a time limit fires twice, a relay completes what came
      edits = edits or {}
      edits[i] = 'drop'
    else
      offset = offset + 1
      if late then
        edits = edits or {}
        edits[i] = 'late'
      else
        known[id], ended[id] = stands, ends
      end
      if not ends and not (late and (final(before) or byte(standing, 7) == byte(before, 7))) then
        touches[last + 1], touches[last + 2] = id, sub(standing, 7, 7) .. ':' .. id
        touches[last + 3], touches[last + 4] = offset, #entries + 1
        last = last + 4
      end
    end
  end
  if edits then
    local told, kept = split(lines), {}
    for i = 1, size do
      local line = told[i] or ''
      if edits[i] == 'late' then line = sub(line, 1, -2) .. ',"late":true}' end
      if edits[i] ~= 'drop' then kept[#kept + 1] = line end
    end
    lines = table.concat(kept, '\\n')
  end
  if offset >= first then
    entries[#entries + 1] = {first = first, last = offset, lines = lines, open = {}, count = 0}
  end
end

-- Of two at one place the later one holds, in open:lines as in an index.
local now_lines, count = {}, 0
for i = 1, last, 4 do
  local field, place = touches[i + 1], touches[i + 2]
  if not ended[touches[i]] then
    local told = entries[touches[i + 3]]
    told.open[told.count + 1], told.open[told.count + 2] = place - told.first + 1, field
    told.count = told.count + 2
    now_lines[count + 1], now_lines[count + 2] = field, place
    count = count + 2
  end
end

local bytes, published = at.bytes, {}
for i, told in ipairs(entries) do
  local fields = {'e', told.lines, 'b', int(bytes)}
  if told.last > told.first then fields[5], fields[6] = 'n', told.last - told.first + 1 end
  if told.count > 0 then
    fields[#fields + 1] = 'o'
    fields[#fields + 1] = cmsgpack.pack(told.open)
  end
  redis.call('XADD', stream, epoch .. '-' .. int(told.last), unpack(fields))
  bytes = bytes + #told.lines
  published[i] = told.lines
end
redis.call('SET', writer, ARGV[1], 'EX', writer_ttl)
if #entries == 0 then return {epoch, offset, 0} end

local gone_lines, gone, now_open, now_closed = {}, {}, {}, {}
for _, id in ipairs(tasks) do
  local list = final(known[id]) and now_closed or now_open
  list[#list + 1] = id
  list[#list + 1] = known[id]
  if list == now_closed and was_open[id] then
    gone[#gone + 1] = id
    for rank = 0, 4 do gone_lines[#gone_lines + 1] = rank .. ':' .. id end
  end
end
if #now_open > 0 then redis.call('HSET', open, unpack(now_open)) end
if #now_lines > 0 then redis.call('HSET', open_lines, unpack(now_lines)) end
if #gone > 0 then
  redis.call('HDEL', open, unpack(gone))
  redis.call('HDEL', open_lines, unpack(gone_lines))
end
if #now_closed > 0 then
  redis.call('HSET', closed, unpack(now_closed))
  if redis.call('HLEN', closed) > max_events then
    redis.call('UNLINK', closed_older)
    redis.call('RENAME', closed, closed_older)
  end
end

-- Now and then, so that some entries leave at a time and not one with each that comes.
local function passes(before, after, bound, most)
  local step = math.max(math.min(math.floor(bound / 10), most), 1)
  return math.floor(before / step) < math.floor(after / step)
end
if passes(at.offset, offset, max_events, 64) or passes(at.bytes, bytes, max_bytes, 65536) then
  -- What leaves the stream leaves behind what unfinished tasks are known by.
  local function save(told)
    local open = cmsgpack.unpack(told.o)
    local fields, lines = {}, split(told.e)
    for i = 2, #open, 2 do fields[#fields + 1] = open[i] end
    for i, offset in ipairs(redis.call('HMGET', open_lines, unpack(fields))) do
      local place = open[2 * i - 1]
      if offset and tonumber(offset) == told.first + place - 1 then
        redis.call('HSET', open_lines, fields[i], offset .. ' ' .. lines[place])
      end
    end
  end

  -- An entry leaves when all of it is beyond the bound in events, or some of it beyond that in bytes; the last one
  -- stays. Bounded work a call, so a bound that was lowered by much is reached over several.
  local function stays(told) return told.last > offset - max_events and told.b >= bytes - max_bytes end
  local done, count = not at.oldest or stays(entry(at.oldest)), 16
  while not done do
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', count)
    for i, raw in ipairs(oldest) do
      local told = entry(raw)
      if stays(told) or i == #oldest then
        redis.call('XTRIM', stream, 'MINID', '=', raw[1])
        done = stays(told) or #oldest < count or count == 256
        break
      end
      if told.o then pcall(save, told) end
    end
    count = count * 2
  end
end

redis.call('PUBLISH', live, message(secret, epoch, at.offset + 1, offset, table.concat(published, '\\n')))
return {epoch, offset, offset - at.offset}
"""
)

#: Make sure that there is a journal, or give a rewound one a new epoch: see
#: :meth:`watcher.journal.layout.Journal.begin`.
#: Offsets stay, so what was trimmed stays known. Replies with the epoch, the offsets of the first event and of the
#: last one that was ever added (first = last + 1 where there is none), and the secret of the live channel, which is
#: made where there is none; empty where Redis doesn't take it.
BEGIN: Final = (
    _ENTRY
    + _POSITION
    + """
local stream, live_secret, renewed = unpack(KEYS)
local rewound, live, fresh = ARGV[1], ARGV[2], ARGV[3]
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
    local found = redis.call('XRANGE', stream, from, '+', 'COUNT', 100)
    for _, raw in ipairs(found) do
      redis.call('XADD', renewed, epoch .. '-' .. string.match(raw[1], '-(%d+)$'), unpack(raw[2]))
    end
    if #found < 100 then break end
    from = '(' .. found[#found][1]
  end
  redis.call('XSETID', renewed, epoch .. '-' .. int(at.offset))
  redis.call('RENAME', renewed, stream)
  redis.call('PUBLISH', live, epoch .. ' ' .. int(at.offset + 1))
end
local secret = redis.call('MGET', live_secret)[1]
if (not secret or #secret ~= #fresh) and not redis.pcall('SET', live_secret, fresh).err then secret = fresh end
return {epoch, at.oldest and entry(at.oldest).first or at.offset + 1, at.offset, secret or ''}
"""
)

#: What unfinished tasks are known by: KEYS the stream and ``open:lines``, ARGV fields of that, some thousands at most.
#: Replies with the epoch, empty where there is no event, and for each field ``OFFSET LINE``, or nil.
KNOWN: Final = (
    _ENTRY
    + _SPLIT
    + """
local stream, open_lines = unpack(KEYS)
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local epoch = newest and string.match(newest[1], '^(%d+)-') or ''
local lines = {}
local function line(offset)
  local raw = redis.call('XRANGE', stream, epoch .. '-' .. offset, '+', 'COUNT', 1)[1]
  if not raw then return nil end
  local told = entry(raw)
  lines[raw[1]] = lines[raw[1]] or split(told.e)
  return lines[raw[1]][tonumber(offset) - told.first + 1]
end
local known = {}
for i, value in ipairs(redis.call('HMGET', open_lines, unpack(ARGV))) do
  if value and #value < 16 and string.match(value, '^%d+$') then
    local found = line(value)
    value = found and value .. ' ' .. found
  end
  known[i] = value or false
end
return {epoch, known}
"""
)
