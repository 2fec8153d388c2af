-- Removes a fork from its source. The mark of a deleted source goes with its last fork. Prepended: stream.lua.
--
-- ARGV: `<fork> <token>`, any number of times.
-- Returns 'removed' with the source and the token of the source, if its mark went; else 'kept'.

if #ARGV > 0 then call('SREM', refs, unpack(ARGV)) end
local held = call('HMGET', meta, 'del', 'src', 'tok')
if not held[1] or call('SCARD', refs) > 0 then return {'kept'} end
call('DEL', meta, data, refs)
return {'removed', held[2] or '', held[3] or ''}
