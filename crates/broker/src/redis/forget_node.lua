-- Removes a node that has neither a lease nor sessions.
--
-- KEYS: the lease, all nodes, the node's index, the index of earlier processes with its id, its incarnation.
-- ARGV: node.

if redis.call('EXISTS', KEYS[1], KEYS[3], KEYS[4]) > 0 then return 0 end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[5])
return 1
