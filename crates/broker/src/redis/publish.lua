-- Appends an event to a channel's log and publishes it on the channel's live topic, atomically.
--
-- keys: the log, the last position, the live topic, and for an event with an idempotency key the key's key.
-- args: type, data, events kept, their age in ms, how long the last position is kept in ms, and how long the
--       idempotency key is kept in ms; for an entry of the ingest stream also its generation, its id, and maybe the id of
--       the entry that must be published before it or '', and the last time at which it may be published or ''. If a session
--       does not get the event, that session is the eleventh; if the event belongs to a trace, its traceparent is the twelfth.
--       Missing ones before these are ''.
-- Returns the position, 1 if the key was used before, else 0, and 1 if the channel is new. For an entry of the ingest
-- stream it returns a number: 0 if the entry was published, 1 if it or its key was published before, 2 if it is held up
-- and nothing was done, 3 if it is too late.
--
-- The last position is followed by the intake's mark, `<position> <generation> <id>`: the newest entry that was published
-- here. Entries of a generation come in the order of their ids, so an entry that is not newer was published before.
--
-- A script is not rolled back. So everything that can fail because of a key's type comes before the first change: reads of
-- both strings, and XADD, which fails without a change. Later commands overwrite, or fail only for a Redis user without
-- the permission.
--
-- This is the hot path: each event pays for every command.

local function after(position)
  local ms, seq = string.match(position, '^(%d+)%-(%d+)$')
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  ms, seq = tonumber(ms), tonumber(seq)
  if now > ms then return string.format('%.0f-0', now) end
  -- Lua numbers are doubles: beyond 2^53, adding one may change nothing.
  if seq >= 9007199254740991 then return string.format('%.0f-0', ms + 1) end
  return string.format('%.0f-%.0f', ms, seq + 1)
end

-- Returns whether an id is before another. Compares text, since publishers may choose ids beyond the exact range of Lua
-- numbers. A text that is not an id is before every id.
local function is_before(a, b)
  local dash = string.find(a, '-', 1, true)
  if #a == #b and dash == string.find(b, '-', 1, true) then return a < b end
  local a_ms, a_seq = string.match(a, '^(%d+)%-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)%-(%d+)$')
  if not (a_ms and b_ms) then return not a_ms end
  if a_ms == b_ms then a_ms, b_ms = a_seq, b_seq end
  if #a_ms ~= #b_ms then return #a_ms < #b_ms end
  return a_ms < b_ms
end

local function is_past(ms)
  local time = redis.call('TIME')
  return tonumber(ms) < tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Calls XADD with these arguments, and with the session that does not get the event and the trace in further fields. `extras`
-- is false if the event has neither.
local function append(extras, ...)
  if not extras then return redis.call('XADD', ...) end
  local words, except, trace = {...}, extras[11], extras[12]
  if except ~= '' then words[#words + 1], words[#words + 2] = 'x', except end
  if trace then words[#words + 1], words[#words + 2] = 'c', trace end
  return redis.call('XADD', unpack(words))
end

-- Returns the beginning of the live message of an event with extras.
local function head_with(extras, positions)
  local except, trace = extras[11], extras[12]
  if not trace then return '2 ' .. positions .. ' ' .. except end
  return '3 ' .. positions .. ' ' .. trace .. ' ' .. (except ~= '' and except or '-')
end

local function publish(keys, args)
  local call, find, sub = redis.call, string.find, string.sub
  local log, last_key, once_key, kind, data = keys[1], keys[2], keys[4], args[1], args[2]
  local generation, entry, previous, extras = args[7], args[8], args[9], args[11] and args
  if generation == '' then generation = nil end

  local seen = once_key and call('GET', once_key)
  if seen and not find(seen, '^%d+%-%d+$') then seen = nil end
  if seen and not generation then return {seen, 1} end

  local last, mark = call('GET', last_key), ''
  if last then
    local space = find(last, ' ', 1, true)
    if space then last, mark = sub(last, 1, space - 1), sub(last, space) end
    if not find(last, '^%d+%-%d+$') then last, mark = nil, '' end
  end

  if generation then
    if previous == '' then previous = nil end
    local newest
    local from = #generation + 3
    if sub(mark, 1, from - 1) == ' ' .. generation .. ' ' then newest = sub(mark, from) end
    if not newest or newest ~= previous then
      if newest and not is_before(newest, entry) then return 1 end
      if previous and not (newest and is_before(previous, newest)) then
        -- If it can never be published, report that now, and not once for each entry that waits for it.
        call('XLEN', log)
        return 2
      end
    end
    mark = ' ' .. generation .. ' ' .. entry
  end

  if not last then
    local newest = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    last = newest and newest[1] or '0-0'
  end
  if seen then
    call('SET', last_key, last .. mark, 'PX', args[5])
    return 1
  end

  if args[10] and args[10] ~= '' and is_past(args[10]) then
    -- The mark goes on, for the entries that wait for this one.
    call('XLEN', log)
    call('SET', last_key, last .. mark, 'PX', args[5])
    return 3
  end

  -- An existing log never assigns an id below its newest. A new log could, if the clock has gone back since the old one
  -- expired: then this script chooses the id.
  local id = append(extras, log, 'NOMKSTREAM', 'MAXLEN', '~', args[3], '*', 't', kind, 'd', data, 'p', last)
  if not id then
    id = append(extras, log, after(last), 't', kind, 'd', data, 'p', last)
    -- Redis reserves 4 KiB for the first entries of a stream; a copy has the needed size. Skipped without the permission.
    local copy = log .. ':copy'
    if redis.pcall('COPY', log, copy, 'REPLACE') == 1 then redis.pcall('RENAME', copy, log) end
  end

  -- Trims by age at most once a second (the first ten digits are seconds): readers skip expired events themselves.
  if sub(id, 1, 10) ~= sub(last, 1, 10) then
    local oldest = tonumber(string.match(id, '^%d+')) - tonumber(args[4])
    call('XTRIM', log, 'MINID', string.format('%.0f', math.max(0, oldest)))
  end
  call('PEXPIRE', log, args[4])
  call('SET', last_key, id .. mark, 'PX', args[5])
  if once_key then call('SET', once_key, id, 'PX', args[6]) end
  local head = extras and head_with(extras, id .. ' ' .. last) or '1 ' .. id .. ' ' .. last
  call('PUBLISH', keys[3], head .. ' ' .. kind .. '\n' .. data)
  return generation and 0 or {id, 0, last == '0-0' and 1 or nil}
end
