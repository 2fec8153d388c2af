#!lua flags=allow-oom
-- Moves an entry of the ingest stream to the dead-letter stream. Allowed when Redis is out of memory, since it only moves.
--
-- KEYS: the ingest stream, the dead-letter stream.
-- ARGV: the group of the reading, the entry's id, the reason, the approximate number of dead-letter entries to keep, and
--       the names and values of its fields, truncated by the node: a publisher may have made an entry of gigabytes.
-- Fails with NOGROUP if the reading has ended: in a recreated stream, the same id is a different entry.

redis.call('XPENDING', KEYS[1], ARGV[1])
-- A key of a wrong type fails here, before the first change.
redis.call('XLEN', KEYS[2])
-- Moved before, by a call whose reply was lost.
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'reason', ARGV[3], 'entry', ARGV[2], unpack(ARGV, 5))
return 1
