-- Creates a finite stream, or finds that it is there. Prepended: stream.lua.
--
-- ARGV: bytes; media type, and without parameters; life that is asked for, and in force; its milliseconds or '-', and the Unix time in
--       milliseconds at which it ends, or ''; end and reason, or ''; how long a stream without a life is kept in ms; of a fork its
--       source, offset, sub-offset, token, and the source's generations up to the fork, or ''; 1 if nothing is created.
-- Returns 'created', 'same' or 'other' and what is known of the stream; 'deleted'; or 'missing' if nothing is created.

local bytes, ct, cn, rq, life, ttl, at, ending, why, keep = unpack(ARGV, 1, 10)
local src, fo, so, tok, ended = unpack(ARGV, 11, 15)
local only_compare = ARGV[16] == '1'

local held = call('HMGET', meta, 'cn', 'rq', 'end', 'src', 'fo', 'so')
local there = describe('same')
if there[1] == 'deleted' then return there end
if there[1] == 'same' then
  local same = held[1] == cn and held[2] == rq and (held[3] ~= false) == (ending ~= '') and (held[4] or '') == src
    and (fo == '' or held[5] == fo) and (held[6] or '') == so
  if not same then there[1] = 'other' end
  return there
end

if only_compare then return {'missing'} end
call('DEL', meta, data, refs)
call('SET', data, bytes)
-- Microseconds: two streams of one name never have the same.
local time = call('TIME')
local g = ended .. string.format('%.0f:', tonumber(time[1]) * 1000000 + tonumber(time[2]))
call('HSET', meta, 'g', g, 'ct', ct, 'cn', cn, 'rq', rq, 'life', life)
if ttl ~= '' then call('HSET', meta, 'ttl', ttl) end
if ending ~= '' then call('HSET', meta, 'end', ending, 'why', why) end
if src ~= '' then call('HSET', meta, 'src', src, 'fo', fo, 'so', so, 'tok', tok) end
if at ~= '' then
  call('PEXPIREAT', meta, at)
  call('PEXPIREAT', data, at)
else
  renew(ttl ~= '' and ttl, keep)
end
return {'created', #bytes, g, ct, life, ending, why, src, tok}
