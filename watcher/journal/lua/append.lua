-- Append a batch. Needs entry.lua, position.lua, order.lua.
--
-- KEYS, ARGV: see watcher.journal.layout.Journal.append. Reply: watcher.journal.layout.Appended.
-- Counters where there is much, because # looks for the end of a table each time; and no ipairs, which is a call a turn.

local stream, open, open_lines, closed, closed_older, live_secret, writer = unpack(KEYS)
local batch, writer_ttl = tonumber(ARGV[1]), ARGV[2]
local max_events, max_bytes, live = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

-- What is known of each task in the batch: the tasks, each once; of each the standing of its state, or false; and
-- which of them are in open. A task that has been opened again is in open and in closed.
local function look_up(ids)
  local tasks, known, was_open, count = {}, {}, {}, 0
  for i = 1, #ids do
    local id = ids[i]
    if known[id] == nil then
      known[id] = false
      count = count + 1
      tasks[count] = id
    end
  end
  local missing, hashes = tasks, {open, closed, closed_older}
  for i = 1, 3 do
    local hash = hashes[i]
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
  return tasks, known, was_open
end

-- Where each event stands, after offset: the entries, those by which tasks are known while they are unfinished (touches:
-- id, field, offset, entry of each), whether a task has ended, and the last offset. Brings known up to date.
local function decide(ids, standings, counts, known, offset)
  local order, final, byte, sub = order, final, byte, sub
  local entries, touches, ended, event, last = {}, {}, {}, 0, 0
  for piece = 1, #counts do
    local size, first, lines, edits = counts[piece], offset + 1, ARGV[6 + piece], nil
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
      lines = table.concat(kept, '\n')
    end
    if offset >= first then
      entries[#entries + 1] = {first = first, last = offset, lines = lines, open = false, count = 0}
    end
  end
  return entries, touches, ended, offset
end

-- What unfinished tasks are known by from now on, as HSET takes it, and each entry's index of that. Of two events at one
-- place the later one holds, in open:lines as in an index.
local function index(entries, touches, ended)
  local now_lines, count = {}, 0
  for i = 1, #touches, 4 do
    local field, offset = touches[i + 1], touches[i + 2]
    if not ended[touches[i]] then
      local told = entries[touches[i + 3]]
      if not told.open then told.open = {} end
      told.open[told.count + 1], told.open[told.count + 2] = offset - told.first + 1, field
      told.count = told.count + 2
      now_lines[count + 1], now_lines[count + 2] = field, offset
      count = count + 2
    end
  end
  return now_lines
end

-- Add the entries to the stream; the bytes of all entries then, and the lines as they are published.
local function write(epoch, entries, bytes)
  local published = {}
  for i = 1, #entries do
    local told = entries[i]
    local fields = {'e', told.lines, 'b', bytes}
    if told.last > told.first then fields[5], fields[6] = 'n', told.last - told.first + 1 end
    if told.open then
      fields[#fields + 1] = 'o'
      fields[#fields + 1] = cmsgpack.pack(told.open)
    end
    redis.call('XADD', stream, epoch .. '-' .. int(told.last), unpack(fields))
    bytes = bytes + #told.lines
    published[i] = told.lines
  end
  return bytes, #entries == 1 and published[1] or table.concat(published, '\n')
end

-- Keep what is known of the tasks: of the unfinished ones, and of those that have ended, in two generations.
local function keep(tasks, known, was_open, now_lines)
  local now_open, now_closed, opened, ended, gone, gone_lines = {}, {}, 0, 0, nil, nil
  for i = 1, #tasks do
    local id = tasks[i]
    local state = known[id]
    if not final(state) then
      now_open[opened + 1], now_open[opened + 2] = id, state
      opened = opened + 2
    else
      now_closed[ended + 1], now_closed[ended + 2] = id, state
      ended = ended + 2
      if was_open[id] then
        gone, gone_lines = gone or {}, gone_lines or {}
        gone[#gone + 1] = id
        for rank = 0, 4 do gone_lines[#gone_lines + 1] = rank .. ':' .. id end
      end
    end
  end
  if opened > 0 then redis.call('HSET', open, unpack(now_open)) end
  if #now_lines > 0 then redis.call('HSET', open_lines, unpack(now_lines)) end
  if gone then
    redis.call('HDEL', open, unpack(gone))
    redis.call('HDEL', open_lines, unpack(gone_lines))
  end
  if ended > 0 then
    redis.call('HSET', closed, unpack(now_closed))
    if redis.call('HLEN', closed) > max_events then
      redis.call('UNLINK', closed_older)
      redis.call('RENAME', closed, closed_older)
    end
  end
end

-- Have the oldest entries leave the stream, given the newest offset and the bytes of all: those that are beyond the
-- bound in events wholly, or beyond that in bytes partly; the last one stays. Now and then, so that some leave at a time
-- and not one with each that comes. Bounded work a call, so a bound that was lowered by much is reached over several.
local function trim(at, offset, bytes)
  local events, size = math.floor(max_events / 10), math.floor(max_bytes / 10)
  events, size = events > 64 and 64 or events > 1 and events or 1, size > 65536 and 65536 or size > 1 and size or 1
  if at.offset % events + offset - at.offset < events and at.bytes % size + bytes - at.bytes < size then return end

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

  local function stays(told) return told.last > offset - max_events and told.b >= bytes - max_bytes end
  local done, count = not at.oldest or stays(entry(at.oldest)), 16
  while not done do
    local leaving = redis.call('XRANGE', stream, '-', '+', 'COUNT', count)
    for i, raw in ipairs(leaving) do
      local told = entry(raw)
      if stays(told) or i == #leaving then
        redis.call('XTRIM', stream, 'MINID', '=', raw[1])
        done = stays(told) or #leaving < count or count == 256
        break
      end
      if told.o then pcall(save, told) end
    end
    count = count * 2
  end
end

local ids, standings, counts = unpack(cmsgpack.unpack(ARGV[6]))
local at = position(stream)

local found = redis.call('MGET', writer, live_secret)
local repeated, secret = number(found[1]) >= batch, found[2]
if repeated or #ids == 0 then return {at.epoch or '', at.offset, 0} end

local epoch = at.epoch or new_epoch()
local tasks, known, was_open = look_up(ids)
local entries, touches, ended, offset = decide(ids, standings, counts, known, at.offset)
local now_lines = index(entries, touches, ended)
local bytes, lines = write(epoch, entries, at.bytes)  -- the first write, which a full Redis refuses
redis.call('SET', writer, ARGV[1], 'EX', writer_ttl)
if #entries == 0 then return {epoch, offset, 0} end

keep(tasks, known, was_open, now_lines)
trim(at, offset, bytes)

-- What is published of the batch: see watcher.journal.layout.parse_live, and is_authentic. SHA-1 is the one digest that
-- scripts have; the secret is at both ends, so that nobody can lengthen what he has heard the code of.
local head = epoch .. ' ' .. int(at.offset + 1)
if secret then head = head .. ' ' .. redis.sha1hex(secret .. head .. ' ' .. int(offset) .. secret) end
redis.call('PUBLISH', live, head .. '\n' .. lines)
return {epoch, offset, offset - at.offset}
