-- Returns users and channels to check for the end of their grace period or of merging, those that have waited longest first.
--
-- KEYS: users and channels to check again.
-- ARGV: maximum number.

local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
return redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
