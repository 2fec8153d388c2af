#!lua flags=allow-oom
-- Moves an entry of the ingest stream to the dead ones. Also where memory is short: it moves what is there.
--
-- KEYS: the ingest stream, the dead entries.
-- ARGV: the group of the reading, the entry's id, why it is dead, about how many dead ones are kept, how many of its
--       fields and how many bytes of them, what is said behind the reason where that is not all.
-- Fails with NOGROUP if the reading is over: in a stream that was made anew since, the same id is another entry.

redis.call('XPENDING', KEYS[1], ARGV[1])
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
-- Moved before, by a call whose answer was lost.
if not entry then return 0 end

local reason, room = ARGV[3], tonumber(ARGV[6])
local kept, is_cut = {}, #entry[2] > 2 * ARGV[5]
for at = 1, math.min(#entry[2], 2 * ARGV[5]) do
  local text = string.sub(entry[2][at], 1, room)
  room = room - #text
  is_cut = is_cut or #text < #entry[2][at]
  kept[at] = text
end
if is_cut then reason = reason .. ARGV[7] end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'reason', reason, 'entry', ARGV[2], unpack(kept))
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
