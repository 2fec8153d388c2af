-- Adds a fork to its source, and reads what the fork begins with. Prepended: stream.lua.
--
-- ARGV: `<fork> <token>`; the source's generations, as the caller knows them; the number of bytes; the maximum number of forks.
-- Returns 'here' and the bytes; 'missing' or 'deleted'; 'changed' if the source is another stream by now; 'many'.

local there, ttl = describe('here')
if there[1] ~= 'here' then return there end
if there[3] ~= ARGV[2] then return {'changed'} end
if call('SCARD', refs) >= tonumber(ARGV[4]) then return {'many'} end
call('SADD', refs, ARGV[1])
local left = call('PTTL', meta)
if left > 0 then call('PEXPIRE', refs, left) end
local count = tonumber(ARGV[3])
return {'here', count == 0 and '' or call('GETRANGE', data, 0, string.format('%.0f', count - 1))}
