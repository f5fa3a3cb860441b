-- What unfinished tasks are known by. Needs entry.lua.
--
-- KEYS: the stream and open:lines. ARGV: fields of that, some thousands at most.
-- Replies with the epoch, empty where there is no event, and for each field "OFFSET LINE", or nil.

local stream, open_lines = unpack(KEYS)
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local epoch = newest and string.match(newest[1], '^(%d+)-') or ''

local lines = {}  -- of the entries that were read
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
