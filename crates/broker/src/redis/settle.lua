#!lua flags=allow-oom
-- Removes entries from the ingest stream. Also where memory is short: it frees some.
--
-- KEYS: the ingest stream.
-- ARGV: the group of the reading, ids.
-- Fails with NOGROUP if the reading is over: in a stream that was made anew since, the same ids are other entries.

redis.call('XPENDING', KEYS[1], ARGV[1])
-- Lua hands on a few thousand values at once at most: the node names a thousand.
redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
return redis.status_reply('OK')
