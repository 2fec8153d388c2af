-- Shared code of the scripts of tickets, prepended to each of them.
--
-- A user's tickets are one hash, so that a Redis Cluster has them in one slot. A value is
-- `<first> <last> <opening> <session> <content>`: the time until which the ticket can be used first, the time until which
-- its session can be reopened, the number of its last opening (0: it was not used), its session (`-`: none), and what it
-- allows, as JSON. Times are in Unix milliseconds, by the clock of Redis.

local function int(number)
  return string.format('%.0f', number)
end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns a ticket; nil if it has ended, or if it is not a value that a node wrote.
local function read(text, time)
  if not text then return nil end
  local first, last, opening, session, content = string.match(text, '^(%d+) (%d+) (%d+) (%S+) (.*)$')
  if not first then return nil end
  local ends = session == '-' and first or last
  if tonumber(ends) <= time then return nil end
  return { first = first, last = last, opening = opening, session = session, content = content }
end

local function write(tickets, id, ticket)
  local parts = { ticket.first, ticket.last, ticket.opening, ticket.session, ticket.content }
  redis.call('HSET', tickets, id, table.concat(parts, ' '))
end
