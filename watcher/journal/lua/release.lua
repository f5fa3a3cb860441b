-- Give a lease back, where it is still one's own; replies whether it was.
--
-- KEYS: the lease. ARGV: the holder.

if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
