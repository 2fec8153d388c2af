-- Reads bytes of a finite stream, with what is known of it, in one call: between two it could expire. Prepended: stream.lua.
--
-- ARGV: the first byte, or '' for none; the maximum number of bytes; 1 if the stream lives on; how long a stream without a life is
--       kept in ms.
-- Returns 'here', what is known of the stream, and the bytes; or 'missing' or 'deleted'.

local from, count = ARGV[1], tonumber(ARGV[2])
local there, ttl = describe('here')
if there[1] ~= 'here' then return there end
local bytes = ''
if from ~= '' and count > 0 then
  bytes = call('GETRANGE', data, from, string.format('%.0f', tonumber(from) + count - 1))
end
there[#there + 1] = bytes
if ARGV[3] == '1' then renew(ttl, ARGV[4]) end
return there
