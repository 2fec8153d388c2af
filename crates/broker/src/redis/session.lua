-- Shared code of the session scripts, prepended to each of them.
--
-- A user's sessions are one hash; the node's index, the lifecycle stream and the control topics are separate names. In a
-- single Redis they change atomically. They are in several slots, so a Redis Cluster will have to split these scripts:
-- the hash decides, the index is written before it, and the rest follows.

local function int(number)
  return string.format('%.0f', number)
end

-- Unix milliseconds, and microseconds: a double holds these exactly for another two centuries.
local function now()
  local time = redis.call('TIME')
  local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
  return math.floor(micros / 1000), micros
end

local function decode(text)
  local read, held = pcall(cjson.decode, text)
  if read and type(held) == 'table' and type(held.node) == 'string' and type(held.epoch) == 'number' then
    return held
  end
  return nil
end

-- Returns the owner of a session; nil for a session without an owner, and for a value that is not an owner.
local function owner(sessions, session)
  local text = redis.call('HGET', sessions, session)
  return text and decode(text)
end

-- `polls` is whether the client claimed it with a long poll. `channels` are those of the session whose presence is recorded, as a
-- JSON array, or an empty text. `leaving`, if there is one, is the time until which a released session waits for its client, in
-- Unix milliseconds, and `reason` why it was released.
local function own(sessions, session, node, epoch, since, client, polls, channels, leaving, reason)
  redis.call('HSET', sessions, session,
    '{"node":"' .. node .. '","epoch":' .. int(epoch) .. ',"since":' .. int(since) .. ',"client":' .. client ..
    (polls and ',"polls":true' or '') .. (channels ~= '' and ',"channels":' .. channels or '') ..
    (leaving and ',"leaving":' .. int(leaving) .. ',"reason":"' .. reason .. '"' or '') .. '}')
end

-- Returns the channels of a session whose presence is recorded.
local function channels_of(held)
  return held and type(held.channels) == 'table' and held.channels or {}
end

-- How a session's connections were lost is a field in a hash beside the user's sessions: `<silence> <last> <time> <epoch>`. After
-- `silence` (in ms; 0: unknown) two connections were lost, the later one at `time`. `last` is how long the one that was lost
-- last had been silent, and `epoch` that of its claim.
local function silences_of(sessions)
  return string.sub(sessions, 1, -#'sessions' - 1) .. 'silences'
end

local function silence_of(sessions, session)
  local text = redis.pcall('HGET', silences_of(sessions), session)
  if type(text) ~= 'string' then return 0, 0, 0, '' end
  local silence, last, time, epoch = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  return tonumber(silence) or 0, tonumber(last) or 0, tonumber(time) or 0, epoch
end

local function report(lifecycle, keep, event, user, ...)
  redis.call('XADD', lifecycle, 'MAXLEN', '~', keep, '*', 'event', event, 'user', user, ...)
end

-- Fails before any change if a key to be written has a wrong type.
local function check(index, lifecycle, leaving, nodes)
  redis.call('SCARD', index)
  redis.call('XLEN', lifecycle)
  redis.call('ZCARD', leaving)
  if nodes then redis.call('SCARD', nodes) end
end

-- Writes a session into its node's index. The sweep must know the node: a claim may arrive after the node was removed, or
-- before its first heartbeat to a Redis that lost its data, and the node may die then.
local function hold(nodes, index, node, member)
  redis.call('SADD', nodes, node)
  redis.call('SADD', index, member)
end

-- Takes a session from another node and notifies that node. Its two names are built here, since only the script knows
-- the node.
local function take(prefix, old, node, session, user, epoch)
  if old.node == node then return end
  local theirs = prefix .. ':node:' .. old.node
  redis.call('SREM', theirs .. ':sessions', session .. ' ' .. user)
  -- Neither value has characters that JSON escapes.
  redis.call('PUBLISH', theirs .. ':control',
    '{"op":"supersede","user":"' .. user .. '","session":"' .. session .. '","epoch":' .. int(epoch) .. '}')
end

-- A user's rate is `quota` session events per minute in the lifecycle stream, with bursts of the same size; 0 disables the
-- limit. The used part is the time to live of a key beside the user's sessions. When the rate is used up, events are
-- merged: the key becomes a hash without a time to live, of what the stream reported last (session → node), and the user
-- is in the set of users to check again, with the time. That check reports the differences (expire_grace.lua).
local function share_of(sessions)
  return string.sub(sessions, 1, -#'sessions' - 1) .. 'told'
end

-- Returns whether an event of the user is merged with later ones. Must be called before the event is written.
local function is_merged(sessions, leaving, user, quota)
  quota = tonumber(quota)
  if quota == 0 then return false end
  local share, minute = share_of(sessions), 60000
  local used = redis.call('PTTL', share)
  if used == -1 then
    -- A node of an older version may have removed the user.
    redis.call('ZADD', leaving, 'NX', int(now() + 5000), user)
    return true
  end
  used = math.max(used, 0) + minute / quota
  if used <= minute then
    redis.call('SET', share, '', 'PX', int(math.max(used, 1)))
    return false
  end
  redis.call('DEL', share)
  -- Redis has no empty hashes.
  redis.call('HSET', share, '', '')
  local fields = redis.call('HGETALL', sessions)
  for i = 1, #fields, 2 do
    local held = decode(fields[i + 1])
    if held then redis.call('HSET', share, fields[i], held.node) end
  end
  redis.call('ZADD', leaving, 'NX', int(now() + 5000), user)
  return true
end

-- The presence of a channel is a sorted set with equal scores, so that its members are in the order of their bytes:
-- `s<user> <session>` of each session that follows the channel, and `u<user>` of each of their users. A session is in it for as
-- long as it is recorded, also while it waits for its client. The channels to check again are among the users to check again:
-- `occupied <channel>` or `vacated <channel>`, by what was reported last. An id of a user has no space.
local function presence_of(lifecycle, channel)
  return string.sub(lifecycle, 1, -#'lifecycle' - 1) .. 'presence:' .. tostring(channel)
end

-- How many commands about presence Redis refused, and the first error: a key has a wrong type, or the node has no right to it. They
-- keep no session from its claim or release.
local refused, refusal = 0, ''

-- Returns the reply of a command about presence, or nil if Redis refused it.
local function accepted(reply)
  if type(reply) ~= 'table' or not reply.err then return reply end
  refused = refused + 1
  if refused == 1 then refusal = reply.err end
  return nil
end

-- Returns the answer of a script, with the refusals if there are any.
local function with_refusals(answer)
  if refused == 0 then return answer end
  return {'refused', refused, refusal, answer}
end

local function report_channel(lifecycle, keep, event, channel)
  redis.call('XADD', lifecycle, 'MAXLEN', '~', keep, '*', 'event', event, 'channel', channel)
end

-- Adds a session to a channel, and reports the channel as occupied if it is the first. The report counts towards the rate of the
-- user: beyond it, the check reports the channel if it is still occupied.
local function follow(sessions, lifecycle, leaving, keep, quota, channel, session, user)
  local presence = presence_of(lifecycle, channel)
  local count = accepted(redis.pcall('ZCARD', presence))
  if not count then return end
  if not accepted(redis.pcall('ZADD', presence, 0, 's' .. user .. ' ' .. session, 0, 'u' .. user)) then return end
  -- A channel that was not reported as vacated is still reported as occupied.
  if count > 0 or redis.call('ZREM', leaving, 'occupied ' .. channel) == 1 then return end
  if redis.call('ZSCORE', leaving, 'vacated ' .. channel) then return end
  if is_merged(sessions, leaving, user, quota) then
    redis.call('ZADD', leaving, int(now() + 5000), 'vacated ' .. channel)
  else
    report_channel(lifecycle, keep, 'channel.occupied', channel)
  end
end

-- Removes a session from a channel. A channel without a session is reported as vacated after the grace period.
local function unfollow(lifecycle, leaving, keep, grace, channel, session, user)
  local presence = presence_of(lifecycle, channel)
  if accepted(redis.pcall('ZREM', presence, 's' .. user .. ' ' .. session)) ~= 1 then return end
  local others = accepted(redis.pcall('ZRANGE', presence, '[s' .. user .. ' ', '(s' .. user .. '!', 'BYLEX', 'LIMIT', 0, 1))
  if not others or #others > 0 then return end
  accepted(redis.pcall('ZREM', presence, 'u' .. user))
  if accepted(redis.pcall('ZCARD', presence)) ~= 0 or redis.call('ZSCORE', leaving, 'vacated ' .. channel) then return end
  if tonumber(grace) == 0 then
    report_channel(lifecycle, keep, 'channel.vacated', channel)
  else
    redis.call('ZADD', leaving, int(now() + grace), 'occupied ' .. channel)
  end
end

-- Replaces the channels of a session. `channels` is a JSON array, or an empty text.
local function change_channels(sessions, lifecycle, leaving, keep, quota, grace, old, channels, session, user)
  if #old == 0 and channels == '' then return end
  local new, is_new, is_old = channels == '' and {} or cjson.decode(channels), {}, {}
  for _, channel in ipairs(new) do is_new[channel] = true end
  for _, channel in ipairs(old) do
    is_old[channel] = true
    if not is_new[channel] then unfollow(lifecycle, leaving, keep, grace, channel, session, user) end
  end
  for _, channel in ipairs(new) do
    if not is_old[channel] then follow(sessions, lifecycle, leaving, keep, quota, channel, session, user) end
  end
end

local function unfollow_all(lifecycle, leaving, keep, grace, held, session, user)
  for _, channel in ipairs(channels_of(held)) do
    unfollow(lifecycle, leaving, keep, grace, channel, session, user)
  end
end

-- Reports the end of a session, or records its reason for the check that reports it.
local function ended(is_merged, sessions, lifecycle, keep, node, session, user, reason)
  if not is_merged then
    report(lifecycle, keep, 'session.disconnected', user, 'session', session, 'node', node, 'reason', reason)
  elseif redis.call('HEXISTS', share_of(sessions), session) == 1 then
    redis.call('HSET', share_of(sessions), session, node .. ' ' .. reason)
  end
end

-- A user without a session is reported offline after the grace period: until then the user is in the set of users to
-- check again, with the time.
local function disconnect(sessions, lifecycle, leaving, keep, quota, grace, held, session, user, reason)
  local merged = is_merged(sessions, leaving, user, quota)
  redis.call('HDEL', sessions, session)
  ended(merged, sessions, lifecycle, keep, held.node, session, user, reason)
  unfollow_all(lifecycle, leaving, keep, grace, held, session, user)
  -- The check is due in any case.
  if merged then return end
  local gone, waits = redis.call('EXISTS', sessions) == 0, redis.call('ZSCORE', leaving, user)
  if tonumber(grace) == 0 then
    if gone and not waits then report(lifecycle, keep, 'user.offline', user) end
  elseif gone or waits then
    redis.call('ZADD', leaving, 'GT', int(now() + grace), user)
  end
end

-- Reports a user online, unless the user was not reported offline: `waited` is whether the user was in the set of users
-- to check again. A check that is due for merged events stays due.
local function arrive(lifecycle, leaving, keep, user, waited, merged)
  if not waited then
    report(lifecycle, keep, 'user.online', user)
  elseif not merged then
    redis.call('ZREM', leaving, user)
  end
end

