-- Counts the sessions and users that follow a channel, and lists users in the order of their bytes.
--
-- KEYS: the channel's presence.
-- ARGV: the user after whom the list begins or an empty text, the maximum number of users to list.
-- Returns the number of sessions, the number of users, and the list.

local presence, after, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])
-- Each session and each user is a member (session.lua).
local users = redis.call('ZLEXCOUNT', presence, '[u', '(v')
local list = {}
if limit > 0 then
  local from = after == '' and '[u' or '(u' .. after
  list = redis.call('ZRANGE', presence, from, '(v', 'BYLEX', 'LIMIT', 0, limit)
end
return { redis.call('ZCARD', presence) - users, users, list }
