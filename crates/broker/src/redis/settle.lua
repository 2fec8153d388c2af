-- Removes entries from the ingest stream, if the reading that gave them is not over. In a stream that was made anew since,
-- the same ids are other entries.
--
-- KEYS: the ingest stream.
-- ARGV: the group of the reading, its consumer, ids.

-- Fails where the group is gone.
redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[2])
-- Lua hands on a few thousand values at once at most.
for first = 3, #ARGV, 1000 do
  redis.call('XDEL', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
return redis.status_reply('OK')
