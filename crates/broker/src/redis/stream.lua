-- What the scripts of finite streams share. Each of them touches the keys of one stream, which are in one slot.
--
-- KEYS: the stream's hash, its bytes, and the set of its forks.
--
-- Fields of the hash: `g` generations; `h` the history of Redis' data at the last change; `ct` media type as it was given, `cn` without
-- parameters and in lower case; `rq` the life that was asked for, `life` the one in force, `ttl` its milliseconds, or `-` if it does not
-- grow; `lease` milliseconds for which a producer may be silent, `until` when that is over; `end` and `why` once it has ended, `by` the
-- producer's numbers that ended it; `sq` the last Stream-Seq; `p:<id>` epoch and number of a producer, `pc` how many there are; `src`,
-- `fo`, `so`, `tok` of a fork; `del` of a deleted stream that has forks.

local call = redis.call
local meta, data, refs = KEYS[1], KEYS[2], KEYS[3]

-- Lets the stream live on after a read or a write. To spare calls and replication, not before a twentieth of its life has passed, or
-- a second.
local function renew(ttl, keep)
  if ttl == '-' or (not ttl and keep == '0') then return end
  local ms = ttl or keep
  local left = call('PTTL', meta)
  if left >= 0 and left > ms - math.min(1000, ms / 20) then return end
  for i = 1, #KEYS do call('PEXPIRE', KEYS[i], ms) end
end

local function now()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns a new generation, greater than the newest one. Microseconds: two streams of one name never have the same.
local function generation(newest)
  local time = call('TIME')
  return string.format('%.0f', math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), newest + 1))
end

-- Returns what names the history of Redis' data: another primary, or the same after a restart, has another one. False if the user may
-- not ask.
local function history()
  local info = redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return false end
  local at = string.find(info, 'master_replid:', 1, true)
  return at and string.sub(info, at + 14, at + 53)
end

-- Wakes readers.
local function publish(g, start, tail, state, bytes)
  local topic = string.sub(meta, 1, -5) .. 'live'
  call('PUBLISH', topic, string.format('%s %.0f %.0f %s\n', string.match(g, '(%d+):$'), start, tail, state) .. (bytes or ''))
end

-- Redis reserves up to twice the memory of a text that grows.
local function free_reserve(tail)
  if tail < 1048576 then call('SET', data, call('GET', data), 'KEEPTTL') end
end

-- Ends a stream whose lease is over. Returns the milliseconds that are left of it, or 'lapsed' with the end and its reason.
local function lapse(g, tail, expires)
  local left = tonumber(expires) - now()
  if left > 0 then return string.format('%.0f', left) end
  call('HSET', meta, 'end', 'error', 'why', 'producer-lost')
  free_reserve(tail)
  publish(g, tail, tail, 'c')
  return 'lapsed', 'error', 'producer-lost'
end

-- Returns what is known of the stream, behind a word, or 'missing' or 'deleted' alone; and its time to live. A stream whose lease is
-- over ends.
local function describe(word)
  local held = call('HMGET', meta, 'g', 'ct', 'life', 'end', 'why', 'src', 'tok', 'ttl', 'del', 'lease', 'until')
  if not held[1] then return {'missing'} end
  if held[9] then return {'deleted'} end
  local tail = call('STRLEN', data)
  if tail == 0 and call('EXISTS', data) == 0 then return {'missing'} end
  local ending, why, left = held[4] or '', held[5] or '', ''
  if held[10] and ending == '' then
    local is_over, reason
    left, is_over, reason = lapse(held[1], tail, held[11])
    if is_over then ending, why = is_over, reason end
  end
  return {word, tail, held[1], held[2], held[3], ending, why, held[6] or '', held[7] or '', held[10] or '', left}, held[8]
end
