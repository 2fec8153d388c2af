-- Appends revocations, all or none, and removes old ones.
--
-- KEYS: the log of revocations.
-- ARGV: the id that the last entry must have (0-0: there is none), or an empty text; the maximum number of entries; the least time to keep in Unix
--       milliseconds; then each revocation.
-- Returns the id of the last entry, or 'full' or 'moved' if nothing was appended.

local revocations, after, limit, oldest = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local newest = redis.call('XREVRANGE', revocations, '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or '0-0'
if after ~= '' and after ~= last then return 'moved' end
redis.call('XTRIM', revocations, 'MINID', oldest)
if redis.call('XLEN', revocations) + #ARGV - 3 > limit then return 'full' end
for at = 4, #ARGV do
  last = redis.call('XADD', revocations, '*', 'revoked', ARGV[at])
end
return last
