-- Answers the position to read on from.
--
-- KEYS: the log, the last position.
-- ARGV: 'latest', 'earliest', 'newest' or 'time'; how many, or the position that the time stands for; the age in ms
--       beyond which events count as gone.

local log, mode, wanted = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local oldest = string.format('%.0f', math.max(0, now - tonumber(ARGV[3])))

local function parts(position)
  local ms, seq = string.match(position, '^(%d+)%-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function is_after(a, b)
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  return a_ms > b_ms or (a_ms == b_ms and a_seq > b_seq)
end

local function last()
  local position = redis.call('GET', KEYS[2])
  if position then
    -- The mark of the intake may stand behind it.
    position = string.match(position, '^%d+%-%d+$') or string.match(position, '^(%d+%-%d+) ')
    if position then return position end
  end
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  return newest and newest[1] or '0-0'
end

-- The position before an entry. One that was not written by the publish script does not say: then the position
-- just below it.
local function before(entry)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == 'p' and string.find(fields[i + 1], '^%d+%-%d+$') then return fields[i + 1] end
  end
  local ms, seq = string.match(entry[1], '^(%d+)%-(%d+)$')
  if seq ~= '0' then return ms .. '-' .. string.format('%.0f', tonumber(seq) - 1) end
  return string.format('%.0f', tonumber(ms) - 1) .. '-18446744073709551615'
end

if mode == 'latest' then return last() end

if mode == 'newest' then
  if tonumber(wanted) == 0 then return last() end
  local entries = redis.call('XREVRANGE', log, '+', oldest, 'COUNT', wanted)
  if #entries == 0 then return last() end
  return before(entries[#entries])
end

local first = redis.call('XRANGE', log, oldest, '+', 'COUNT', 1)[1]
if mode == 'earliest' then return first and before(first) or last() end

local at = redis.call('XREVRANGE', log, wanted, oldest, 'COUNT', 1)[1]
if at then return at[1] end
local known = first and before(first) or last()
if is_after(known, wanted) then return wanted end
return known
