-- What the scripts of finite streams share. Each of them touches the keys of one stream, which are in one slot.
--
-- KEYS: the stream's hash, its bytes, and the set of its forks.
--
-- Fields of the hash: `g` generations; `ct` media type as it was given, `cn` without parameters and in lower case; `rq` the life
-- that was asked for, `life` the one in force, `ttl` its milliseconds, or `-` if it does not grow; `end` and `why` once it has ended,
-- `by` the producer's numbers that ended it; `sq` the last Stream-Seq; `p:<id>` epoch and number of a producer, `pc` how many there
-- are; `src`, `fo`, `so`, `tok` of a fork; `del` of a deleted stream that has forks.

local call = redis.call
local meta, data, refs = KEYS[1], KEYS[2], KEYS[3]

-- Lets the stream live on after a read or a write.
local function renew(ttl, keep)
  if ttl == '-' or (not ttl and keep == '0') then return end
  local ms = ttl or keep
  for i = 1, #KEYS do call('PEXPIRE', KEYS[i], ms) end
end

-- Returns what is known of the stream, behind a word, or 'missing' or 'deleted' alone.
local function describe(word)
  local held = call('HMGET', meta, 'g', 'ct', 'life', 'end', 'why', 'src', 'tok', 'ttl', 'del')
  if not held[1] then return {'missing'} end
  if held[9] then return {'deleted'} end
  local tail = call('STRLEN', data)
  if tail == 0 and call('EXISTS', data) == 0 then return {'missing'} end
  return {word, tail, held[1], held[2], held[3], held[4] or '', held[5] or '', held[6] or '', held[7] or ''}, held[8]
end
