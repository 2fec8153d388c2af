-- Acquires or renews a lock.
--
-- KEYS: the lock.
-- ARGV: the holder, the time in ms.
-- Returns 1 if the caller holds the lock.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
