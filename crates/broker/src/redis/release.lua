-- Releases a session, if the node owns it with this epoch. A session whose client is expected back stays recorded for the
-- grace period: of a draining node, so that another node can take it over, and of a long poll, whose client sends the next.
--
-- KEYS: the user's sessions, the node's index, the lifecycle stream, users who are leaving, and one that
--       only claims need.
-- ARGV: node, session, user, epoch, reason, entries that lifecycle keeps, the grace in milliseconds, the user's share of
--       lifecycle.
-- Returns 1 if it was released.

local sessions, index, lifecycle, leaving = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local node, session, user, epoch, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local keep, grace = ARGV[6], ARGV[7]

check(index, lifecycle, leaving)
local held = owner(sessions, session)
if held and held.node == node then
  -- A failover may have left an older claim of the node: it ends too.
  if held.epoch > tonumber(epoch) then return 0 end
  redis.call('SREM', index, session .. ' ' .. user)
  if (reason == 'shutdown' or reason == 'polled') and tonumber(grace) > 0 then
    local till = now() + grace
    local since, client = tonumber(held.since) or now(), cjson.encode(held.client or '')
    own(sessions, session, node, held.epoch, since, client, held.polls, till, reason)
    redis.call('ZADD', leaving, 'GT', int(till), user)
  else
    disconnect(sessions, lifecycle, leaving, keep, ARGV[8], grace, node, session, user, reason)
  end
  return 1
end
redis.call('SREM', index, session .. ' ' .. user)
return 0
