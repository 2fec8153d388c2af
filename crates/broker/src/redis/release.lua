-- Releases a session, if the node owns it with this epoch. A session whose client is expected back stays recorded for the
-- grace period: of a draining node, so that another node can take it over, and of a long poll, whose client sends the next.
--
-- KEYS: the user's sessions, the node's index, the lifecycle stream, users who are leaving, and one that
--       only claims need.
-- ARGV: node, session, user, epoch, reason, entries that lifecycle keeps, the grace in milliseconds, the user's share of
--       lifecycle, how many ms the connection had been silent if that may be why it was lost (else 0), for how many ms
--       that is remembered.
-- Returns 1 if it was released. Refusals of presence come with it.

local sessions, index, lifecycle, leaving = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local node, session, user, epoch, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local keep, grace = ARGV[6], ARGV[7]
local silence, memory = tonumber(ARGV[9]), tonumber(ARGV[10])

-- The most sessions of a user whose silences are recorded.
local most = 32

local function is_alike(one, other)
  return math.min(one, other) * 10 >= math.max(one, other) * 9
end

-- Makes room for another session: that whose connection was lost first is forgotten.
local function make_room(key, held)
  if held < most or redis.call('HEXISTS', key, session) == 1 then return end
  local fields, oldest, from = redis.call('HGETALL', key), nil, nil
  for i = 1, #fields, 2 do
    local _, _, at = silence_of(sessions, fields[i])
    if not oldest or at < from then oldest, from = fields[i], at end
  end
  redis.call('HDEL', key, oldest)
end

-- Records that the connection was lost in silence. Two that were lost after about the same silence tell that of the path. One
-- is remembered until the next can be expected; a call may be repeated. Nothing that fails here, as a write to a Redis that is
-- out of memory, keeps the session from its release.
local function record_silence()
  local key, time = silences_of(sessions), now()
  local sessions_held = redis.pcall('HLEN', key)
  if type(sessions_held) ~= 'number' then return end
  local known, last, at, lost = silence_of(sessions, session)
  if lost == epoch then return end
  if is_alike(silence, last) or is_alike(silence, known) then
    known, at = silence, time
  elseif known == 0 then
    at = time
  end
  make_room(key, sessions_held)
  local value = int(known) .. ' ' .. int(silence) .. ' ' .. int(at) .. ' ' .. epoch
  if type(redis.pcall('HSET', key, session, value)) ~= 'number' then return end
  local ttl = known > 0 and 2 * memory or math.min(memory, 600000)
  if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, int(ttl)) end
end

check(index, lifecycle, leaving)
local held = owner(sessions, session)
if silence > 0 then record_silence() end
if held and held.node == node then
  -- A failover may have left an older claim of the node: it ends too.
  if held.epoch > tonumber(epoch) then return 0 end
  redis.call('SREM', index, session .. ' ' .. user)
  if (reason == 'shutdown' or reason == 'polled') and tonumber(grace) > 0 then
    local till = now() + grace
    local since, client = tonumber(held.since) or now(), cjson.encode(held.client or '')
    local channels = channels_of(held)
    channels = #channels > 0 and cjson.encode(channels) or ''
    own(sessions, session, node, held.epoch, since, client, held.polls, channels, till, reason)
    redis.call('ZADD', leaving, 'GT', int(till), user)
  else
    disconnect(sessions, lifecycle, leaving, keep, ARGV[8], grace, held, session, user, reason)
  end
  return with_refusals(1)
end
redis.call('SREM', index, session .. ' ' .. user)
return 0
