-- One page of a result backend's keys: those of young results.
--
-- ARGV: a cursor, a pattern, how many keys; then in milliseconds how long a result lives (0: for ever), and what is
-- young.
-- Replies with the next cursor, the keys that are young, and those of which that can't be told. How long a key was not
-- touched says it of some that live for ever: not by all policies of eviction, nor after a restart.

local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local lives, most, young, doubtful = tonumber(ARGV[4]), tonumber(ARGV[5]), {}, {}
for _, key in ipairs(page[2]) do
  local left = redis.call('PTTL', key)
  if left >= 0 and lives > 0 then
    if lives - left <= most then young[#young + 1] = key end
  elseif left ~= -2 then
    local idle = redis.pcall('OBJECT', 'IDLETIME', key)
    if type(idle) ~= 'number' or idle * 1000 <= most then doubtful[#doubtful + 1] = key end
  end
end
return {page[1], young, doubtful}
