#!lua flags=allow-oom
-- Moves an entry of the dead-letter stream back to the end of the ingest stream, as the publisher made it. Allowed when Redis
-- is out of memory, since it only moves.
--
-- KEYS: the dead-letter stream, the ingest stream.
-- ARGV: the entry's id, the end of the reason of a truncated entry, the maximum number of fields.
-- Returns the id in the ingest stream; 0 if the entry is not complete; nil if there is none.

local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then return nil end
local fields = entry[2]
-- A node has written it, and has truncated nothing.
if fields[1] ~= 'reason' or fields[3] ~= 'entry' or #fields < 6 or #fields > 4 + 2 * tonumber(ARGV[3])
  or string.sub(fields[2], -#ARGV[2]) == ARGV[2] then return 0 end
-- First: if it fails, the entry stays where it is.
local id = redis.call('XADD', KEYS[2], '*', unpack(fields, 5))
redis.call('XDEL', KEYS[1], ARGV[1])
return id
