#!lua flags=no-writes
-- Reads entries of the dead-letter stream. XRANGE limits entries only, and each entry is copied before its size is known:
-- so a few are read at a time.
--
-- KEYS: the dead-letter stream.
-- ARGV: the first id that may be read, the maximum number of entries, their maximum bytes (one entry may be larger), how
--       many entries are read at a time.
-- Returns: the entries; 1 if the stream has further ones, else 0.

local start, most, budget, at_a_time = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found, bytes = {}, 0
repeat
  local entries = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', at_a_time)
  for _, entry in ipairs(entries) do
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
    if #found == most or (#found > 0 and bytes > budget) then return {found, 1} end
    table.insert(found, entry)
    start = '(' .. entry[1]
  end
until #entries < at_a_time
return {found, 0}
