-- Uses a ticket: the first use binds it to its session, and only this session can use it again.
--
-- KEYS: the user's tickets.
-- ARGV: id, 1 if the client resumes a stream, the session that the client named or an empty text, the session to bind the
--       ticket to or an empty text to change nothing.
-- Returns 'first', the number of the opening and what the ticket allows; or 'again', its session and what it allows; or
-- why it is refused: 'unknown', 'used' or 'other'.

local tickets, id, resumes, named, binds = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local time = now()
local ticket = read(redis.call('HGET', tickets, id), time)
if not ticket then return { 'unknown' } end
local is_first = ticket.session == '-'
if not is_first then
  if resumes ~= '1' then return { 'used' } end
  if named ~= '' and named ~= ticket.session then return { 'other' } end
end
if binds ~= '' then
  -- Grows, also if the clock goes back, so that an opening can be told from the one before it.
  ticket.opening = int(math.max(time, tonumber(ticket.opening) + 1))
  if is_first then ticket.session = binds end
  write(tickets, id, ticket)
end
if is_first then return { 'first', ticket.opening, ticket.content } end
return { 'again', ticket.session, ticket.content }
