#!lua flags=allow-oom
-- Removes entries from the ingest stream. Also where memory is short: it frees some.
--
-- KEYS: the ingest stream.
-- ARGV: the group of the reading, ids.
-- Fails with NOGROUP if the reading is over: in a stream that was made anew since, the same ids are other entries.

redis.call('XPENDING', KEYS[1], ARGV[1])
-- Lua hands on a few thousand values at once at most.
for first = 2, #ARGV, 1000 do
  redis.call('XDEL', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
return redis.status_reply('OK')
