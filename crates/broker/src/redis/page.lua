#!lua flags=no-writes
-- Reads a page of a channel's log, and the channel's last position at the same moment.
--
-- XRANGE limits entries only, and each entry is copied before its size is known. So entries are read a few at a time: two,
-- then more as the sizes so far allow, so that a call never copies much more than the requested bytes. A log with one new
-- entry, the most common, is read with one command.
--
-- KEYS: the log, the last position.
-- ARGV: the first position that may be read, or nothing to read none; how many entries are looked at; how many bytes
--       they may have together, with so many for each beside its type and data; how many entries are read at a time;
--       the age in ms beyond which events count as gone.
-- Returns: the last position; that of the last entry looked at, or nothing; 1 if nothing comes after it; how many were no
--       events; how many bytes the first entry has, if that is too much by itself, else 0; the time in ms; the position of
--       the first that was no event, or nothing; and for each event position, type, data, and the position before it, or
--       nothing if that is the event before, with a space and the session that does not get the event, if there is one.

local log, start, most, budget, each = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local at_a_time, age = tonumber(ARGV[5]), tonumber(ARGV[6])
local call, find = redis.call, string.find

local last = call('GET', KEYS[2])
-- The intake's mark may follow.
if last then last = string.match(last, '^%d+%-%d+$') or string.match(last, '^(%d+%-%d+) ') end
if not last then
  local newest = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  last = newest and newest[1] or '0-0'
end

local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local head = 7
local answer, size = {last, '', 1, 0, 0, now, ''}, head
if start == '' then
  -- Nothing follows the greatest position; but a key of a wrong type must fail here, too.
  call('XLEN', log)
  return answer
end

-- Publishing trims old events only from time to time, and a quiet channel has no publishing.
local oldest = now - age
if oldest > tonumber(string.match(start, '^%d+')) then start = string.format('%.0f', oldest) end

local looked, bytes, before, count = 0, 0, nil, math.min(2, at_a_time)
while looked < most do
  count = math.min(count, most - looked)
  local found = call('XRANGE', log, start, '+', 'COUNT', count)
  for i = 1, #found do
    local id, fields = found[i][1], found[i][2]
    local kind, data, previous, except
    if fields[1] == 't' and fields[3] == 'd' and fields[5] == 'p' then
      kind, data, previous = fields[2], fields[4], fields[6]
      if fields[7] == 'x' then except = fields[8] end
    else
      for f = 1, #fields, 2 do
        if fields[f] == 't' then kind = fields[f + 1] end
        if fields[f] == 'd' then data = fields[f + 1] end
        if fields[f] == 'p' then previous = fields[f + 1] end
        if fields[f] == 'x' then except = fields[f + 1] end
      end
    end
    if kind and data and previous then
      local weight = #kind + #data + each + (except and #except or 0)
      if bytes + weight > budget and (size > head or weight > budget) then
        answer[3] = 0
        if size == head and looked == 0 then answer[5] = weight end
        return answer
      end
      bytes = bytes + weight
      answer[size + 1], answer[size + 2], answer[size + 3] = id, kind, data
      answer[size + 4] = previous == before and '' or previous
      if except then answer[size + 4] = answer[size + 4] .. ' ' .. except end
      size, before = size + 4, id
    else
      for f = 1, #fields do bytes = bytes + #fields[f] end
      if answer[4] == 0 then answer[7] = id end
      answer[4] = answer[4] + 1
    end
    looked = looked + 1
    answer[2], start = id, '(' .. id
  end
  if #found < count then return answer end
  if bytes >= budget then break end
  -- As many as will fit if they are as large as those before.
  count = math.max(1, math.min(count * 4, at_a_time, math.floor((budget - bytes) * looked / math.max(bytes, 1))))
end
if answer[2] ~= last or #call('XRANGE', log, start, '+', 'COUNT', 1) > 0 then answer[3] = 0 end
return answer
