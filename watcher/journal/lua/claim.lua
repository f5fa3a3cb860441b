-- Claim a task's id for a submission: watcher/relay/submit/idempotency.py has the values.
--
-- KEYS: the claim, then the journal's hashes of known tasks.
-- ARGV: the value, its TTL and the patience with an unsettled one in milliseconds, and the id where it must be new to
-- the journal.
-- Replies "taken", "known", or the value that is in the way.

local held = redis.call('GET', KEYS[1])
local value, ttl, patience, id = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if held then
  local given_back = string.sub(held, 1, 1) == 'r' and string.sub(held, 3, 18) == string.sub(value, 3, 18)
  local abandoned = held == value and ttl - redis.call('PTTL', KEYS[1]) > patience
  if not (given_back or abandoned) then return held end
elseif id ~= '' then
  for i = 2, #KEYS do
    if redis.call('HEXISTS', KEYS[i], id) == 1 then return 'known' end
  end
end
redis.call('SET', KEYS[1], value, 'PX', ttl)
return 'taken'
