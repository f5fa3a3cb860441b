-- A worker is there.
--
-- KEYS: the hash of workers. ARGV: the worker's name there, and when it started.
-- Redis' clock says when, so that those of workers and relays may differ.

return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. redis.call('TIME')[1])
