-- Looks again at a user who was leaving: ends the sessions that no other node took over in time, and reports the user
-- offline if none is left.
--
-- KEYS: the user's sessions, users who are leaving, the lifecycle stream.
-- ARGV: user, entries that lifecycle keeps.
-- Answers how many sessions ended.

local sessions, leaving, lifecycle = KEYS[1], KEYS[2], KEYS[3]
local user, keep = ARGV[1], ARGV[2]

redis.call('XLEN', lifecycle)
local time = now()
local due = redis.call('ZSCORE', leaving, user)
if not due or tonumber(due) > time then return 0 end

local ended, again = 0, nil
local fields = redis.pcall('HGETALL', sessions)
if fields.err then
  -- A key of another type: those behind this user must not wait for it to be mended.
  redis.call('ZADD', leaving, int(time + 60000), user)
  return fields
end
for i = 1, #fields, 2 do
  local held = decode(fields[i + 1])
  local till = held and tonumber(held.leaving)
  if till and till <= time then
    redis.call('HDEL', sessions, fields[i])
    report(lifecycle, keep, 'session.disconnected', user, 'session', fields[i], 'node', held.node, 'reason', 'shutdown')
    ended = ended + 1
  elseif till then
    again = math.min(again or till, till)
  end
end

if again then
  redis.call('ZADD', leaving, int(again), user)
else
  redis.call('ZREM', leaving, user)
  if redis.call('EXISTS', sessions) == 0 then report(lifecycle, keep, 'user.offline', user) end
end
return ended
