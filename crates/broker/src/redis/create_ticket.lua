-- Stores a ticket of a user, and removes those that have ended.
--
-- KEYS: the user's tickets.
-- ARGV: id, ms in which it must be used first, ms for which its session can be reopened, the maximum number of tickets,
--       what it allows.
-- Returns 1, or 0 if the user has as many tickets as allowed and none has a session.

local tickets, id, life, keep, limit, content = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local time = now()
local count, oldest, opened = 0, nil, nil
local all = redis.call('HGETALL', tickets)
for at = 1, #all, 2 do
  local ticket = read(all[at + 1], time)
  if not ticket or all[at] == id then
    redis.call('HDEL', tickets, all[at])
  else
    count = count + 1
    local opening = tonumber(ticket.opening)
    if opening > 0 and (not opened or opening < opened) then oldest, opened = all[at], opening end
  end
end
if count >= limit then
  if not oldest then return 0 end
  redis.call('HDEL', tickets, oldest)
end
write(tickets, id, {
  first = int(time + life), last = int(time + keep), opening = '0', session = '-', content = content,
})
if redis.call('PTTL', tickets) < tonumber(keep) then redis.call('PEXPIRE', tickets, keep) end
return 1
