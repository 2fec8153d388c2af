#!lua flags=allow-oom
-- Begins to read the ingest stream from its oldest entry, in a consumer group of its own. Every other group of ours goes:
-- a call that was on its way there takes nothing any more.
--
-- The group's name is `fanfare:<generation>:<reading>`, and so the stream itself holds its generation: it is deleted and
-- renamed with it.
--
-- KEYS: the ingest stream, who leads.
-- ARGV: who asks, a generation for a stream that has none, the reading.
-- Answers the generation; nil if somebody else leads, or nobody.

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
-- A script is not rolled back: while the new group cannot be made, the generation must not be lost with the old ones.
redis.call('XGROUP', 'CREATE', KEYS[1], 'fanfare:' .. generation .. ':' .. ARGV[3], '0', 'MKSTREAM')
for _, group in ipairs(former) do redis.call('XGROUP', 'DESTROY', KEYS[1], group) end
return generation
