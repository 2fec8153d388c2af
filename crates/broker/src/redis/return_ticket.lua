-- Undoes the first use of a ticket whose stream could not be opened.
--
-- KEYS: the user's tickets.
-- ARGV: id, the number of the opening.

local tickets, id, opening = KEYS[1], ARGV[1], ARGV[2]
local ticket = read(redis.call('HGET', tickets, id), now())
if ticket and ticket.opening == opening then
  ticket.opening, ticket.session = '0', '-'
  write(tickets, id, ticket)
end
return 1
