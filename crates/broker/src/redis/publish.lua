-- Appends an event to a channel's log and tells the channel's live wire: one step.
--
-- keys: the log, the last position, the live topic, and for an event with an idempotency key the key's key.
-- args: type, data, events kept, their age in ms, how long the last position is kept in ms, and how long the
--       idempotency key is kept in ms.
-- Answers the position, and 1 if the key was seen before.
--
-- A script is not rolled back. So everything that can fail for the type of a key comes before the first change:
-- reads of both strings, and XADD, which fails without a change. What follows overwrites or cannot fail.

local function after(position)
  local ms, seq = string.match(position, '^(%d+)%-(%d+)$')
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  ms, seq = tonumber(ms), tonumber(seq)
  if now > ms then return string.format('%.0f-0', now) end
  -- Lua counts in doubles: beyond 2^53 adding one may change nothing.
  if seq >= 9007199254740991 then return string.format('%.0f-0', ms + 1) end
  return string.format('%.0f-%.0f', ms, seq + 1)
end

local function is_position(text)
  return text and string.find(text, '^%d+%-%d+$')
end

local function publish(keys, args)
  local log, kind, data, age = keys[1], args[1], args[2], tonumber(args[4])
  if keys[4] then
    local seen = redis.call('GET', keys[4])
    if is_position(seen) then return {seen, 1} end
  end

  local last = redis.call('GET', keys[2])
  if not is_position(last) then
    local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    last = newest and newest[1] or '0-0'
  end

  -- A log that is there never gives an id below its newest. A new one could, when the clock has gone back since
  -- the old one expired: then the id is ours to choose.
  local id = redis.call('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', args[3], '*', 't', kind, 'd', data, 'p', last)
  if not id then
    id = redis.call('XADD', log, after(last), 't', kind, 'd', data, 'p', last)
  end

  -- The age is trimmed once a second at most: readers leave out what is too old by themselves.
  local ms, last_ms = tonumber(string.match(id, '^%d+')), tonumber(string.match(last, '^%d+'))
  if math.floor(ms / 1000) ~= math.floor(last_ms / 1000) then
    redis.call('XTRIM', log, 'MINID', string.format('%.0f', math.max(0, ms - age)))
  end
  redis.call('PEXPIRE', log, args[4])
  redis.call('SET', keys[2], id, 'PX', args[5])
  if keys[4] then redis.call('SET', keys[4], id, 'PX', args[6]) end
  redis.call('PUBLISH', keys[3], '1 ' .. id .. ' ' .. last .. ' ' .. kind .. '\n' .. data)
  return {id, 0}
end
