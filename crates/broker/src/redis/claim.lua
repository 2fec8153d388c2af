-- Makes a node the owner of a session.
--
-- KEYS: the user's sessions, the node's index, the lifecycle stream, users who are leaving, all nodes, the log of the
--       user's channel, its last position.
-- ARGV: node, session, user, the client's address as JSON, the user's limit, entries that lifecycle keeps, the
--       prefix of all names, the user's share of lifecycle, the grace in ms, 1 for a long poll, 1 for a client with a cursor,
--       for how many ms a silence is remembered, the channels whose presence is recorded as a JSON array or an empty text.
-- Returns 0 if the user has reached the session limit, else the epoch, the previous owner or '', the last position of the user's
-- channel before the claim is reported ('' if it cannot be read), and the silence in ms in which the session's connections are
-- lost, or 0. Refusals of presence come with it.

local sessions, index, lifecycle, leaving, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local node, session, user, client, limit, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

-- Returns the silence in which the session's connections are lost. A client without a cursor did not lose its last one: its page
-- was loaded again.
local function recall(time, resumes, memory)
  local silence, last, at, lost = silence_of(sessions, session)
  if last > 0 and not resumes then
    if silence == 0 then
      redis.call('HDEL', silences_of(sessions), session)
    else
      redis.call('HSET', silences_of(sessions), session, int(silence) .. ' 0 ' .. int(at) .. ' ' .. lost)
    end
  end
  return time - at < memory and silence or 0
end

check(index, lifecycle, leaving, nodes)
local read, position = pcall(last_position, KEYS[6], KEYS[7])
local old = owner(sessions, session)
local count = redis.call('HLEN', sessions)
if count >= tonumber(limit) and redis.call('HEXISTS', sessions, session) == 0 then
  -- Sessions released by a draining node are not counted: their clients may reconnect with other session ids. Those of
  -- long polls are.
  local held = 0
  for _, text in ipairs(redis.call('HVALS', sessions)) do
    -- As written by `own`: within a JSON string the quotes would be escaped.
    local leaves = string.find(text, ',"leaving":', 1, true)
    if not leaves or string.find(text, ',"reason":"polled"', leaves, true) then held = held + 1 end
  end
  if held >= tonumber(limit) then return 0 end
end

-- At least the clock, so that epochs also grow after the session was lost.
local time, epoch = now()
local since = time
if old then
  epoch = math.max(epoch, old.epoch + 1)
  since = tonumber(old.since) or time
end
local waited = redis.call('ZSCORE', leaving, user)
-- After a long poll nothing has changed. Its release may come later than the next request, which may reach another node.
local polls = old and old.polls
-- Arrivals of offline users do not count: the grace period bounds their rate. So most claims write no share.
local counts = not polls and (count > 0 or waited or ARGV[9] == '0')
local merged = counts and is_merged(sessions, leaving, user, ARGV[8])
if old then take(ARGV[7], old, node, session, user, epoch) end
hold(nodes, index, node, session .. ' ' .. user)
own(sessions, session, node, epoch, since, client, ARGV[10] == '1', ARGV[13])
if merged then
  -- Reported by the check of the user, if the session lasts until then.
elseif polls then
  -- Also on another node: each poll may reach another one.
elseif old then
  report(lifecycle, keep, 'session.moved', user, 'session', session, 'from', old.node, 'node', node)
else
  report(lifecycle, keep, 'session.connected', user, 'session', session, 'node', node)
end
if count == 0 then arrive(lifecycle, leaving, keep, user, waited, merged) end
change_channels(sessions, lifecycle, leaving, keep, ARGV[8], ARGV[9], channels_of(old), ARGV[13], session, user)
local silence = recall(time, ARGV[11] == '1', tonumber(ARGV[12]))
return with_refusals({int(epoch), old and old.node or '', read and position or '', int(silence)})
