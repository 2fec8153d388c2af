-- Removes one session of a dead node.
--
-- KEYS: the user's sessions, the set that names the session, the node's index, its lease, the lifecycle stream, users
--       who are leaving. The set is the index of a node whose lease has expired, or of an earlier process with the node's
--       id.
-- ARGV: node, session, user, entries that lifecycle keeps, the grace in milliseconds, the user's share of lifecycle.
-- Returns 1 if it was removed. Refusals of presence come with it.

local sessions, set, index, lease, lifecycle, leaving = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local node, session, user, keep, grace = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local member = session .. ' ' .. user

check(set, lifecycle, leaving)
local kept
if set == index then
  -- The node is alive again since the check: it renews its sessions, and this may be one of them.
  if redis.call('EXISTS', lease) == 1 then return 0 end
else
  -- Claimed again by the current process with the node id.
  kept = redis.call('SISMEMBER', index, member) == 1
end

redis.call('SREM', set, member)
if kept then return 0 end
local held = owner(sessions, session)
if not held or held.node ~= node or held.leaving then return 0 end
disconnect(sessions, lifecycle, leaving, keep, ARGV[6], grace, held, session, user, 'node-lost')
return with_refusals(1)
