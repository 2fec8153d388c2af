-- Returns the position after which to read.
--
-- KEYS: the log, the last position.
-- ARGV: 'latest', 'earliest', 'newest' or 'time'; how many, or the position that the time stands for; the age in ms
--       beyond which events count as gone; of 'newest' also how many bytes the events may have together, with so many for
--       each beside its type and data, and how many entries are read at a time.

local log, mode, wanted = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local oldest = string.format('%.0f', math.max(0, now - tonumber(ARGV[3])))

local function last()
  return last_position(log, KEYS[2])
end

-- The position before an entry. An entry that the publish script did not write has none: then the position just below
-- it.
local function before(entry)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == 'p' and string.find(fields[i + 1], '^%d+%-%d+$') then return fields[i + 1] end
  end
  return below(entry[1])
end

if mode == 'latest' then return last() end

if mode == 'newest' then
  -- Entries can be counted only by copying them. So they are read a few at a time: one, then more as the sizes so far
  -- allow.
  local most, budget, each, at_a_time = tonumber(wanted), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local counted, bytes, from, oldest_meant, count = 0, 0, '+', nil, 1
  while counted < most and bytes < budget do
    count = math.min(count, most - counted)
    local found = redis.call('XREVRANGE', log, from, oldest, 'COUNT', count)
    for _, entry in ipairs(found) do
      local fields, weight = entry[2], each
      for f = 2, #fields, 2 do
        if fields[f - 1] ~= 'p' then weight = weight + #fields[f] end
      end
      if oldest_meant and bytes + weight > budget then return before(oldest_meant) end
      bytes, counted, oldest_meant = bytes + weight, counted + 1, entry
    end
    if #found < count then break end
    from = '(' .. oldest_meant[1]
    count = math.max(1, math.min(count * 4, at_a_time, math.floor((budget - bytes) * counted / bytes)))
  end
  return oldest_meant and before(oldest_meant) or last()
end

local first = redis.call('XRANGE', log, oldest, '+', 'COUNT', 1)[1]
if mode == 'earliest' then return first and before(first) or last() end

local at = redis.call('XREVRANGE', log, wanted, oldest, 'COUNT', 1)[1]
if at then return at[1] end
local known = first and before(first) or last()
if is_before(wanted, known) then return wanted end
return known
