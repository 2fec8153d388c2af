-- Releases a lock, if the caller holds it.
--
-- KEYS: the lock.
-- ARGV: the holder.

if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
