#!lua flags=allow-oom
-- Starts to read the ingest stream from its oldest entry, in a new consumer group. Removes every other group of earlier
-- readings: a late call for such a group reads nothing.
--
-- The group's name is `fanfare:<generation>:<reading>`, and so the stream itself holds its generation: it is deleted and
-- renamed with it.
--
-- KEYS: the ingest stream, the leader's lock.
-- ARGV: the caller, a generation for a stream that has none, the reading.
-- Returns the generation; nil if the caller does not lead.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then return nil end
local generation, former = ARGV[2], {}
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local of = string.match(group[2], '^fanfare:(%w+):')
    if of then
      generation = of
      table.insert(former, group[2])
    end
  end
end
-- A script is not rolled back: if the new group cannot be created, the generation must not be lost with the old groups.
redis.call('XGROUP', 'CREATE', KEYS[1], 'fanfare:' .. generation .. ':' .. ARGV[3], '0', 'MKSTREAM')
for _, group in ipairs(former) do redis.call('XGROUP', 'DESTROY', KEYS[1], group) end
return generation
