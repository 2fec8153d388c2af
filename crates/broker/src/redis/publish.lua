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
  local call = redis.call
  local log, last_key, once_key, kind, data = keys[1], keys[2], keys[4], args[1], args[2]
  if once_key then
    local seen = call('GET', once_key)
    if is_position(seen) then return {seen, 1} end
  end

  local last = call('GET', last_key)
  if not is_position(last) then
    local newest = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    last = newest and newest[1] or '0-0'
  end

  -- A log that is there never gives an id below its newest. A new one could, when the clock has gone back since
  -- the old one expired: then the id is ours to choose.
  local id = call('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', args[3], '*', 't', kind, 'd', data, 'p', last)
  if not id then
    id = call('XADD', log, after(last), 't', kind, 'd', data, 'p', last)
  end

  -- The age is trimmed once a second at most, which the first ten digits count: readers leave out what is too old by
  -- themselves.
  if string.sub(id, 1, 10) ~= string.sub(last, 1, 10) then
    local oldest = tonumber(string.match(id, '^%d+')) - tonumber(args[4])
    call('XTRIM', log, 'MINID', string.format('%.0f', math.max(0, oldest)))
  end
  call('PEXPIRE', log, args[4])
  call('SET', last_key, id, 'PX', args[5])
  if once_key then call('SET', once_key, id, 'PX', args[6]) end
  call('PUBLISH', keys[3], '1 ' .. id .. ' ' .. last .. ' ' .. kind .. '\n' .. data)
  return {id, 0}
end
