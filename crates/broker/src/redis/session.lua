-- What the scripts about sessions share: it is put before each of them.
--
-- A user's sessions are one hash; the node's index, the lifecycle stream and the control topics are names of their
-- own. In one Redis they change in one step. They lie in several slots, so a Redis Cluster will have to split these
-- scripts: the hash decides, the index is written before it, and the rest follows.

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

-- The owner of a session; nil for one that nobody holds, and for a value that is not an owner.
local function owner(sessions, session)
  local text = redis.call('HGET', sessions, session)
  return text and decode(text)
end

-- `leaving`, if there is one, is the time until which the session waits for another node, in Unix milliseconds.
local function own(sessions, session, node, epoch, since, client, leaving)
  redis.call('HSET', sessions, session,
    '{"node":"' .. node .. '","epoch":' .. int(epoch) .. ',"since":' .. int(since) .. ',"client":' .. client ..
    (leaving and ',"leaving":' .. int(leaving) or '') .. '}')
end

local function report(lifecycle, keep, event, user, ...)
  redis.call('XADD', lifecycle, 'MAXLEN', '~', keep, '*', 'event', event, 'user', user, ...)
end

-- Fails, before anything was changed, when a key that is about to be written is of another type.
local function check(index, lifecycle, leaving, nodes)
  redis.call('SCARD', index)
  redis.call('XLEN', lifecycle)
  redis.call('ZCARD', leaving)
  if nodes then redis.call('SCARD', nodes) end
end

-- Writes a session into its node's index. The sweep must know of the node: a claim may arrive when the node is buried,
-- or before its first heartbeat to a Redis that came back empty, and the node may die then.
local function hold(nodes, index, node, member)
  redis.call('SADD', nodes, node)
  redis.call('SADD', index, member)
end

-- Takes a session from another node and tells that node. Its two names are made here, since only the script knows it.
local function take(prefix, old, node, session, user, epoch)
  if old.node == node then return end
  local theirs = prefix .. ':node:' .. old.node
  redis.call('SREM', theirs .. ':sessions', session .. ' ' .. user)
  -- Neither of the two has a character that JSON escapes.
  redis.call('PUBLISH', theirs .. ':control',
    '{"op":"supersede","user":"' .. user .. '","session":"' .. session .. '","epoch":' .. int(epoch) .. '}')
end

-- A user's share of the lifecycle stream is `quota` session events a minute, as many at once; 0 is no limit. What is used
-- of it is the time to live of a key beside the user's sessions. When the share is used up, events are merged: the key
-- becomes a hash without a time to live, of what the stream has told last (session → node), and the user is among those
-- who are leaving, with the time to look again. That look tells what is different then (depart.lua).
local function share_of(sessions)
  return string.sub(sessions, 1, -#'sessions' - 1) .. 'told'
end

-- Whether what happens to a session of the user now is merged with what follows. To be asked before it is written.
local function is_merged(sessions, leaving, user, quota)
  quota = tonumber(quota)
  if quota == 0 then return false end
  local told, minute = share_of(sessions), 60000
  local used = redis.call('PTTL', told)
  local look = int(now() + 5000)
  if used == -1 then
    -- A node of an older version may have taken the user out.
    redis.call('ZADD', leaving, 'NX', look, user)
    return true
  end
  used = math.max(used, 0) + minute / quota
  if used <= minute then
    redis.call('SET', told, '', 'PX', int(math.max(used, 1)))
    return false
  end
  redis.call('DEL', told)
  -- A hash without fields is none.
  redis.call('HSET', told, '', '')
  local fields = redis.call('HGETALL', sessions)
  for i = 1, #fields, 2 do
    local held = decode(fields[i + 1])
    if held then redis.call('HSET', told, fields[i], held.node) end
  end
  redis.call('ZADD', leaving, 'NX', look, user)
  return true
end

-- Reports the end of a session, or notes its reason for the look that tells it.
local function ended(is_merged, sessions, lifecycle, keep, node, session, user, reason)
  if not is_merged then
    report(lifecycle, keep, 'session.disconnected', user, 'session', session, 'node', node, 'reason', reason)
  elseif redis.call('HEXISTS', share_of(sessions), session) == 1 then
    redis.call('HSET', share_of(sessions), session, node .. ' ' .. reason)
  end
end

-- A user without a session is offline when the grace is over and there is still none: until then the user is among
-- those who are leaving, with the time to look again.
local function disconnect(sessions, lifecycle, leaving, keep, quota, grace, node, session, user, reason)
  local merged = is_merged(sessions, leaving, user, quota)
  redis.call('HDEL', sessions, session)
  ended(merged, sessions, lifecycle, keep, node, session, user, reason)
  -- The look is due in any case.
  if merged then return end
  local gone, waits = redis.call('EXISTS', sessions) == 0, redis.call('ZSCORE', leaving, user)
  if tonumber(grace) == 0 then
    if gone and not waits then report(lifecycle, keep, 'user.offline', user) end
  elseif gone or waits then
    redis.call('ZADD', leaving, 'GT', int(now() + grace), user)
  end
end

-- Reports that a user came, unless nobody was told that the user had gone: `waited` is whether the user was among those
-- who are leaving. A look that is due for what was merged stays due.
local function arrive(lifecycle, leaving, keep, user, waited, merged)
  if not waited then
    report(lifecycle, keep, 'user.online', user)
  elseif not merged then
    redis.call('ZREM', leaving, user)
  end
end

