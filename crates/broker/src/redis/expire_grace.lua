-- Checks a user who was about to be offline, or whose events were merged: ends the sessions whose clients did not come back
-- in time, reports the merged events, and reports the user offline if no session is left.
--
-- KEYS: the user's sessions, users who are leaving, the lifecycle stream.
-- ARGV: user, entries that lifecycle keeps, the grace in milliseconds.
-- Returns the number of sessions that ended. Refusals of presence come with it.

local sessions, leaving, lifecycle = KEYS[1], KEYS[2], KEYS[3]
local user, keep, grace = ARGV[1], ARGV[2], tonumber(ARGV[3])

redis.call('XLEN', lifecycle)
local time = now()
local due = redis.call('ZSCORE', leaving, user)
if not due or tonumber(due) > time then return 0 end

local share = share_of(sessions)
local merged = redis.call('PTTL', share) == -1
local count, again = 0, nil
local fields = redis.pcall('HGETALL', sessions)
if fields.err then
  -- A key of a wrong type: other users must not wait until it is fixed.
  redis.call('ZADD', leaving, int(time + 60000), user)
  return fields
end
-- Sessions that follow very many channels end in more than one call, so that no call holds Redis for long (pipelines.rs).
local most, changed = 512, 0
for i = 1, #fields, 2 do
  local held = decode(fields[i + 1])
  local till = held and tonumber(held.leaving)
  if till and till <= time and changed >= most then
    again = time
  elseif till and till <= time then
    redis.call('HDEL', sessions, fields[i])
    -- A node of an older version writes no reason.
    ended(merged, sessions, lifecycle, keep, held.node, fields[i], user, held.reason or 'shutdown')
    -- The session has waited for the grace period.
    unfollow_all(lifecycle, leaving, keep, 0, held, fields[i], user)
    changed = changed + #channels_of(held)
    count = count + 1
  elseif till then
    again = math.min(again or till, till)
  end
end

-- Reports the differences to what was reported last. The rate stays used up, so that further events are merged again.
if merged then
  local last = redis.call('HGETALL', share)
  local known = {}
  for i = 1, #last, 2 do
    local session = last[i]
    local node, reason = string.match(last[i + 1], '^(%S+) ?(%S*)$')
    local held = node and owner(sessions, session)
    known[session] = true
    if node and not held then
      if reason == '' then reason = 'closed' end
      report(lifecycle, keep, 'session.disconnected', user, 'session', session, 'node', node, 'reason', reason)
    elseif held and held.node ~= node and not held.polls then
      report(lifecycle, keep, 'session.moved', user, 'session', session, 'from', node, 'node', held.node)
    end
  end
  for i = 1, #fields, 2 do
    local held = not known[fields[i]] and owner(sessions, fields[i])
    if held then report(lifecycle, keep, 'session.connected', user, 'session', fields[i], 'node', held.node) end
  end
  redis.call('DEL', share)
  redis.call('SET', share, '', 'PX', 60000)
  -- The end of the last session is unknown: the grace period starts now.
  if not again and grace > 0 and redis.call('EXISTS', sessions) == 0 then again = time + grace end
end

if again then
  redis.call('ZADD', leaving, int(again), user)
else
  redis.call('ZREM', leaving, user)
  if redis.call('EXISTS', sessions) == 0 then report(lifecycle, keep, 'user.offline', user) end
end
return with_refusals(count)
