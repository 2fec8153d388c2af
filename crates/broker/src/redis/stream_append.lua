-- Appends bytes to a finite stream, ends it, or both. Prepended: stream.lua.
--
-- ARGV: bytes; media type without parameters, or '' if none is needed; end and reason, or ''; what is wrong with the
--       body, or ''; the producer's id, epoch and number, or ''; Stream-Seq, or ''; the maximum number of the stream's bytes, and of its
--       producers; how long a stream without a life is kept in ms; the maximum number of bytes that are published.
-- Returns a word, the number of the stream's bytes, its generations, end and reason, and two words about the producer.
--
-- The checks come in the order of the protocol, and all of them before the first change. A change under another history than the last
-- one ends the newest generation at the stream's end: bytes behind it may have been read, and were lost.

local bytes, cn, ending, why, fault = unpack(ARGV, 1, 5)
local id, epoch, seq, order, most, most_producers, keep, most_published = unpack(ARGV, 6, 13)
-- Maximum number of generations: offsets of older ones are no longer valid.
local most_generations = 64

local held = call('HMGET', meta, 'g', 'cn', 'end', 'why', 'by', 'sq', 'ttl', 'del', 'pc', 'p:' .. id, 'h', 'lease', 'until')
local g, is_closed, producer = held[1], held[3], id ~= '' and held[10]
if not g then return {'missing'} end
if held[8] then return {'deleted'} end
local tail = call('STRLEN', data)
if tail == 0 and call('EXISTS', data) == 0 then return {'missing'} end

local function answer(word, a, b)
  return {word, tail, g, held[3] or '', held[4] or '', a or '', b or ''}
end

-- Lua compares texts by the locale of Redis; the protocol compares bytes.
local function is_after(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

-- Returns the word of a producer's append that is not the next one.
local function refuse_producer()
  if not producer then
    if seq ~= '0' then return answer('gap', '0', seq) end
    if tonumber(held[9] or 0) >= tonumber(most_producers) then return answer('producers') end
    return nil
  end
  local known_epoch, known = string.match(producer, '^(%d+) (%d+)$')
  known_epoch, known = tonumber(known_epoch), tonumber(known)
  if tonumber(epoch) < known_epoch then return answer('stale', string.format('%.0f', known_epoch)) end
  if tonumber(epoch) > known_epoch then return seq ~= '0' and answer('epoch') or nil end
  if tonumber(seq) <= known then return answer('repeated', string.format('%.0f', known)) end
  if tonumber(seq) > known + 1 then return answer('gap', string.format('%.0f', known + 1), seq) end
  return nil
end

local function begin_generation()
  local newest = string.match(g, '(%d+):$')
  g = string.format('%s%.0f,%s:', g, tail, generation(tonumber(newest)))
  local _, ended = string.gsub(g, ',', '')
  if ended >= most_generations then g = string.match(g, '^[^,]*,(.*)$') end
end

if held[12] and not is_closed then
  local _, over, reason = lapse(g, tail, held[13])
  if over then
    held[3], held[4] = over, reason
    return answer('lapsed')
  end
end
if is_closed then
  if id ~= '' and held[5] == epoch .. ' ' .. seq .. ' ' .. id then return answer('repeated', seq) end
  return answer(ending ~= '' and bytes == '' and fault == '' and id == '' and 'ended' or 'closed')
end
if fault == 'empty' or fault == 'untyped' then return answer(fault) end
if cn ~= '' and cn ~= held[2] then return answer('type') end
local refused = id ~= '' and refuse_producer()
if refused then return refused end
if order ~= '' and held[6] and not is_after(order, held[6]) then return answer('order') end
if fault ~= '' then return answer(fault) end
if tail + #bytes > tonumber(most) then return answer('large') end

local start, set = tail, {}
local current = history()
if current and current ~= held[11] then
  begin_generation()
  set = {'g', g, 'h', current}
end
if bytes ~= '' then tail = call('APPEND', data, bytes) end
if held[12] then set[#set + 1], set[#set + 2] = 'until', string.format('%.0f', now() + tonumber(held[12])) end
if id ~= '' then
  set[#set + 1], set[#set + 2] = 'p:' .. id, epoch .. ' ' .. seq
  if not producer then call('HINCRBY', meta, 'pc', 1) end
end
if order ~= '' then set[#set + 1], set[#set + 2] = 'sq', order end
local state = 'o'
if ending ~= '' then
  state = 'c'
  held[3], held[4] = ending, why
  for _, word in ipairs({'end', ending, 'why', why}) do set[#set + 1] = word end
  if id ~= '' then set[#set + 1], set[#set + 2] = 'by', epoch .. ' ' .. seq .. ' ' .. id end
  free_reserve(tail)
end
if #set > 0 then call('HSET', meta, unpack(set)) end
renew(held[7], keep)
publish(g, start, tail, state, #bytes <= tonumber(most_published) and bytes)
return answer('appended')
