#!lua flags=allow-oom
-- Removes acknowledged entries from the ingest stream. Allowed when Redis is out of memory, since it frees memory.
--
-- KEYS: the ingest stream.
-- ARGV: the group of the reading, ids.
-- Fails with NOGROUP if the reading has ended: in a recreated stream, the same ids are different entries.

redis.call('XPENDING', KEYS[1], ARGV[1])
-- Lua passes at most a few thousand values at once: the node sends a thousand.
redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
return redis.status_reply('OK')
