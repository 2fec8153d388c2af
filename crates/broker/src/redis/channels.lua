-- Counts the channels of sessions that are about to end, whose presence ends with them.
--
-- KEYS: the user's sessions.
-- ARGV: the session; an empty text for all of the user's sessions whose clients did not come back in time.
-- Returns the number.

local sessions, session = KEYS[1], ARGV[1]

if session ~= '' then return #channels_of(owner(sessions, session)) end
local time, count = now(), 0
for _, text in ipairs(redis.call('HVALS', sessions)) do
  local held = decode(text)
  local till = held and tonumber(held.leaving)
  if till and till <= time then count = count + #channels_of(held) end
end
return count
