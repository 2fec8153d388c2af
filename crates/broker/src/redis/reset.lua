#!lua flags=allow-oom
-- Replaces the ingest stream with an empty one of another generation, whose ids begin at the clock again, if its last id is
-- far ahead of the clock. Publishers may choose ids, and after the greatest one Redis accepts no entry. Does nothing while
-- the stream has entries, so no entry is lost. Groups of others are created again.
--
-- KEYS: the ingest stream.
-- ARGV: the group of the reading, the first group of the new stream, how far the last id may be ahead, in ms.
-- Returns the last id of the stream that was replaced; nil if it was not.
-- Fails with NOGROUP if the reading has ended.

redis.call('XPENDING', KEYS[1], ARGV[1])
if redis.call('XLEN', KEYS[1]) > 0 then return nil end
local stream = redis.call('XINFO', 'STREAM', KEYS[1])
local last
for at = 1, #stream, 2 do
  if stream[at] == 'last-generated-id' then last = stream[at + 1] end
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if tonumber(string.match(last, '^%d+')) - now <= tonumber(ARGV[3]) then return nil end

local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[2], '0', 'MKSTREAM')
for _, group in ipairs(groups) do
  if not string.match(group[2], '^fanfare:%w+:') then redis.call('XGROUP', 'CREATE', KEYS[1], group[2], '0') end
end
return last
