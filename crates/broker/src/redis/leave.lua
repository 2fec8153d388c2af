-- Gives a node's lease up, if it is this incarnation's. The node's name stays for the sweep, if it leaves anything behind.
--
-- KEYS: the lease.
-- ARGV: incarnation.

local text = redis.call('GET', KEYS[1])
if not text then return 0 end
local read, holder = pcall(cjson.decode, text)
if read and type(holder) == 'table' and holder.incarnation == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
