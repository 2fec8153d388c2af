#!lua flags=allow-oom
-- Moves an entry of the ingest stream to the dead ones. Also where memory is short: it moves what is there.
--
-- KEYS: the ingest stream, the dead entries.
-- ARGV: the group of the reading, the entry's id, why it is dead, about how many dead ones are kept, and the names and values
--       of its fields, as far as they are kept: the node has the entry, of which a publisher may have made gigabytes.
-- Fails with NOGROUP if the reading is over: in a stream that was made anew since, the same id is another entry.

redis.call('XPENDING', KEYS[1], ARGV[1])
-- A key of another type fails here, before the first change.
redis.call('XLEN', KEYS[2])
-- Moved before, by a call whose answer was lost.
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'reason', ARGV[3], 'entry', ARGV[2], unpack(ARGV, 5))
return 1
