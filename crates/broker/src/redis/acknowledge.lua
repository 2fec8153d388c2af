-- Moves a reader's acknowledged positions forward. Prepended: position.lua.
--
-- KEYS: the user's readers, by the time of their last acknowledgement; the reader's positions, by the channels' tags.
-- ARGV: the reader; how long its positions are kept, in ms; the maximum number of readers, and of positions of each; then tags
--       and positions.
-- Returns how many positions moved. The positions of a reader are under the name of the first key, ':' and the reader, so a
-- user's names share a slot of a Redis Cluster.

local readers, positions, reader = KEYS[1], KEYS[2], ARGV[1]
local keep, most_readers, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- After a failover the clock may be behind what was acknowledged: such a position would hold up the later ones.
local ahead = string.format('%.0f-0', now + 60000)

local function is_position(text)
  return string.find(text, '^%d+%-%d+$') ~= nil
end

-- Fails before any change if a key has a wrong type.
redis.call('ZCARD', readers)
redis.call('HLEN', positions)

local moved = 0
for at = 5, #ARGV, 2 do
  local tag, position = ARGV[at], ARGV[at + 1]
  local held = redis.call('HGET', positions, tag)
  if not held or not is_position(held) or is_before(held, position)
    or (is_before(ahead, held) and is_before(position, ahead)) then
    redis.call('HSET', positions, tag, position)
    moved = moved + 1
  end
end

-- Removes the least positions beyond the maximum.
local excess = redis.call('HLEN', positions) - most
if excess > 0 then
  local fields, held = redis.call('HGETALL', positions), {}
  for i = 1, #fields, 2 do
    held[#held + 1] = { fields[i], is_position(fields[i + 1]) and fields[i + 1] or '0-0' }
  end
  table.sort(held, function(a, b) return is_before(a[2], b[2]) end)
  for i = 1, excess do redis.call('HDEL', positions, held[i][1]) end
end

redis.call('PEXPIRE', positions, keep)
-- After a failover the clock may be behind the others' times, and this reader is still the last.
local newest = redis.call('ZRANGE', readers, -1, -1, 'WITHSCORES')
local score = newest[1] and newest[1] ~= reader and math.max(now, tonumber(newest[2]) + 1) or now
redis.call('ZADD', readers, string.format('%.0f', score), reader)
redis.call('ZREMRANGEBYSCORE', readers, '-inf', string.format('(%.0f', now - keep))
local others = redis.call('ZCARD', readers) - most_readers
if others > 0 then
  local oldest = redis.call('ZPOPMIN', readers, others)
  for i = 1, #oldest, 2 do redis.call('DEL', readers .. ':' .. oldest[i]) end
end
redis.call('PEXPIRE', readers, keep)
return moved
