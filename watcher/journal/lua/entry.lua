-- An entry of the stream: what it holds is told in watcher/journal/scripts.py.

-- The lines of an entry.
local function split(lines)
  local found, from = {}, 1
  while true do
    local to = string.find(lines, '\n', from, true)
    found[#found + 1] = string.sub(lines, from, to and to - 1)
    if not to then return found end
    from = to + 1
  end
end

local function number(text)
  local found = tonumber(text or '')
  return found and found >= 0 and found < 2 ^ 53 and found or 0
end

-- An entry as XRANGE gives it: the offsets of its first and its last event, and its fields.
local function entry(raw)
  local told = {}
  for i = 1, #raw[2], 2 do told[raw[2][i]] = raw[2][i + 1] end
  local count = number(told.n)
  told.last = tonumber(string.match(raw[1], '-(%d+)$'))
  told.first = count > 1 and count <= math.min(500, told.last) and told.last - count + 1 or told.last
  told.e, told.b = told.e or '', number(told.b)
  return told
end
