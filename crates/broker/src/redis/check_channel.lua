-- Checks a channel that was about to be reported: as vacated if no session came in time, or as occupied if the report of its first
-- session had to wait and there is still one.
--
-- KEYS: the channel's presence, users and channels to check again, the lifecycle stream.
-- ARGV: the member of the set, what was reported last, the channel, entries that lifecycle keeps.
-- Returns 0. Refusals of presence come with it.

local presence, leaving, lifecycle = KEYS[1], KEYS[2], KEYS[3]
local member, last, channel, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

redis.call('XLEN', lifecycle)
local due = redis.call('ZSCORE', leaving, member)
if not due or tonumber(due) > now() then return 0 end
redis.call('ZREM', leaving, member)
local is_occupied = (accepted(redis.pcall('ZCARD', presence)) or 0) > 0
if is_occupied and last == 'vacated' then report_channel(lifecycle, keep, 'channel.occupied', channel) end
if not is_occupied and last == 'occupied' then report_channel(lifecycle, keep, 'channel.vacated', channel) end
return with_refusals(0)
