-- Answers the position to read on from; of 'newest', if there is more to look at, how many entries are still to be counted,
-- where to go on, and the position before those that were.
--
-- KEYS: the log, the last position.
-- ARGV: 'latest', 'earliest', 'newest' or 'time'; how many, or the position that the time stands for; the age in ms
--       beyond which events count as gone; of 'newest' also where to count from, how many entries are read at a time, how
--       many bytes may be looked at, and the position before the entries that were counted, or nothing.

local log, mode, wanted = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local oldest = string.format('%.0f', math.max(0, now - tonumber(ARGV[3])))

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
  return below(entry[1])
end

if mode == 'latest' then return last() end

if mode == 'newest' then
  local left, from, at_a_time, budget, known = tonumber(wanted), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
  local count = 1
  while left > 0 do
    count = math.min(count, left)
    local found = redis.call('XREVRANGE', log, from, oldest, 'COUNT', count)
    for _, entry in ipairs(found) do
      for _, field in ipairs(entry[2]) do budget = budget - #field end
      known, from = before(entry), '(' .. entry[1]
    end
    left = left - #found
    if #found < count then break end
    if left > 0 and budget <= 0 then return {left, from, known} end
    count = math.min(count * 4, at_a_time)
  end
  return known == '' and last() or known
end

local first = redis.call('XRANGE', log, oldest, '+', 'COUNT', 1)[1]
if mode == 'earliest' then return first and before(first) or last() end

local at = redis.call('XREVRANGE', log, wanted, oldest, 'COUNT', 1)[1]
if at then return at[1] end
local known = first and before(first) or last()
if is_before(wanted, known) then return wanted end
return known
