-- Deletes a finite stream. One that has forks remains as a mark that it was deleted. Prepended: stream.lua.
--
-- ARGV: how long the mark is kept in ms.
-- Returns 'missing'; 'deleted' if it was deleted before; 'kept' if a mark remains; or 'removed' with the source and the token of a fork.

local there = describe('here')
if there[1] ~= 'here' then return there end
local word = 'removed'
if call('SCARD', refs) > 0 then
  word = 'kept'
  call('DEL', data)
  call('HSET', meta, 'del', '1')
  for i = 1, #KEYS do call('PEXPIRE', KEYS[i], ARGV[1]) end
else
  call('DEL', meta, data, refs)
end
publish(there[3], there[2], there[2], 'd')
return {word, there[8], there[9]}
