-- Releases a node's lease, if this incarnation holds it. The node's id stays for the sweep of remaining sessions.
--
-- KEYS: the lease.
-- ARGV: incarnation.

local text = redis.call('GET', KEYS[1])
if not text then return 0 end
local read, holder = pcall(cjson.decode, text)
if read and type(holder) == 'table' and holder.incarnation == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
