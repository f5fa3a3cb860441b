-- Where a stream stands. Needs entry.lua.

local function int(number) return string.format('%.0f', number) end

-- XINFO's reply is a flat list whose order differs between versions, so it is read by name.
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
