-- Creates a finite stream, or finds that it is there. Prepended: stream.lua.
--
-- ARGV: bytes; media type, and without parameters; life that is asked for, and in force; its milliseconds or '-', and the Unix time in
--       milliseconds at which it ends, or ''; end and reason, or ''; how long a stream without a life is kept in ms; of a fork its
--       source, offset, sub-offset, token, and the source's generations up to the fork, or ''; 1 if nothing is created; the lease of
--       its producer in ms, or ''.
-- Returns 'created', 'same' or 'other' and what is known of the stream; 'deleted'; or 'missing' if nothing is created.

local bytes, ct, cn, rq, life, ttl, at, ending, why, keep = unpack(ARGV, 1, 10)
local src, fo, so, tok, ended = unpack(ARGV, 11, 15)
local only_compare, lease = ARGV[16] == '1', ARGV[17]

local held = call('HMGET', meta, 'cn', 'rq', 'src', 'fo', 'so')
local there = describe('same')
if there[1] == 'deleted' then return there end
if there[1] == 'same' then
  local same = held[1] == cn and held[2] == rq and (there[6] ~= '') == (ending ~= '') and (held[3] or '') == src
    and (fo == '' or held[4] == fo) and (held[5] or '') == so and there[10] == lease
  if not same then there[1] = 'other' end
  -- The producer says that it is there.
  if same and lease ~= '' and there[6] == '' then
    call('HSET', meta, 'until', string.format('%.0f', now() + tonumber(lease)))
    there[11] = lease
  end
  return there
end

if only_compare then return {'missing'} end
call('DEL', meta, data, refs)
call('SET', data, bytes)
local g = ended .. generation(tonumber(string.match(ended, '(%d+):%d+,$')) or 0) .. ':'
call('HSET', meta, 'g', g, 'h', history() or '', 'ct', ct, 'cn', cn, 'rq', rq, 'life', life)
if ttl ~= '' then call('HSET', meta, 'ttl', ttl) end
if lease ~= '' then call('HSET', meta, 'lease', lease, 'until', string.format('%.0f', now() + tonumber(lease))) end
if ending ~= '' then call('HSET', meta, 'end', ending, 'why', why) end
if src ~= '' then call('HSET', meta, 'src', src, 'fo', fo, 'so', so, 'tok', tok) end
if at ~= '' then
  call('PEXPIREAT', meta, at)
  call('PEXPIREAT', data, at)
else
  renew(ttl ~= '' and ttl, keep)
end
return {'created', #bytes, g, ct, life, ending, why, src, tok, lease, ending == '' and lease or ''}
