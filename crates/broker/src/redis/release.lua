-- Gives a session up, if the node owns it and not with a greater epoch.
--
-- KEYS: the user's sessions, the node's index, the lifecycle stream, and one that only claims need.
-- ARGV: node, session, user, epoch, reason, entries that lifecycle keeps.
-- Answers 1 when it was given up.

local sessions, index, lifecycle = KEYS[1], KEYS[2], KEYS[3]
local node, session, user, epoch, reason, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

check(index, lifecycle)
local held = owner(sessions, session)
if held and held.node == node then
  -- A fail-over may have left an older claim of the node: that is over too.
  if held.epoch > tonumber(epoch) then return 0 end
  redis.call('SREM', index, session .. ' ' .. user)
  disconnect(sessions, lifecycle, keep, node, session, user, reason)
  return 1
end
redis.call('SREM', index, session .. ' ' .. user)
return 0
