-- Renew a lease for whoever holds it; replies whether that is so.
--
-- KEYS: the lease. ARGV: the holder, and its TTL in milliseconds.
-- SET needs memory: nobody holds a lease on a Redis that takes no writes.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
