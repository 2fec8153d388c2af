-- Renews the claim of a session that a node holds, as far as it knows.
--
-- KEYS: the user's sessions, the node's index, the lifecycle stream, users who are leaving, all nodes.
-- ARGV: node, session, user, epoch, since, the client's address as JSON, entries that lifecycle keeps, the prefix of all
--       names, the user's share of lifecycle, 1 for a long poll, the grace in ms, the channels whose presence is recorded as a
--       JSON array or an empty text.
-- Returns the epoch, or 0 if another node owns the session with a greater one. Refusals of presence come with it.

local sessions, index, lifecycle, leaving, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local node, session, user, epoch, since = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local client, keep = ARGV[6], ARGV[7]
local member = session .. ' ' .. user

check(index, lifecycle, leaving, nodes)
local held = owner(sessions, session)
if held and held.epoch >= tonumber(epoch) then
  if held.node ~= node then
    redis.call('SREM', index, member)
    return 0
  end
  -- A greater epoch is this node's too: the reply with it was lost. Writes the index again, in case only that was lost.
  hold(nodes, index, node, member)
  return int(held.epoch)
end

-- The session has no owner, or a failover has lost the node's claim and left an older one.
local first = redis.call('EXISTS', sessions) == 0
local _, clock = now()
local fresh = math.max(clock, tonumber(epoch) + 1)
local waited = redis.call('ZSCORE', leaving, user)
local merged = is_merged(sessions, leaving, user, ARGV[9])
if held then take(ARGV[8], held, node, session, user, fresh) end
hold(nodes, index, node, member)
own(sessions, session, node, fresh, tonumber(since), client, ARGV[10] == '1', ARGV[12])
if merged then
  -- Reported by the check of the user.
elseif not held then
  report(lifecycle, keep, 'session.connected', user, 'session', session, 'node', node)
elseif held.node ~= node then
  report(lifecycle, keep, 'session.moved', user, 'session', session, 'from', held.node, 'node', node)
end
if first then arrive(lifecycle, leaving, keep, user, waited, merged) end
change_channels(sessions, lifecycle, leaving, keep, ARGV[9], ARGV[11], channels_of(held), ARGV[12], session, user)
return with_refusals(int(fresh))
