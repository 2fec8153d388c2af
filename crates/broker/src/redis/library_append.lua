-- The function that producers of finite streams call: appends bytes, ends the stream, or both. It checks what a node checks.
--
-- Prepended to this: library.lua, and `append_stream`, which is stream.lua and stream_append.lua.

-- Maximum bytes of a JSON message, which is parsed while Redis does nothing else.
local most_parsed = 65536

local ends = {complete = true, error = true, cancelled = true}

local function wrong_stream(key)
  local head, tail = prefix .. ':{stream:', '}:meta'
  if string.sub(key, 1, #head) ~= head or string.sub(key, -#tail) ~= tail or #key <= #head + #tail then
    return 'the key must be ' .. head .. '<name>' .. tail
  end
end

-- Returns whether a text is a number of JSON. The parser takes more.
local function is_number(text)
  local rest = string.match(text, '^%-?0(.*)$') or string.match(text, '^%-?[1-9]%d*(.*)$')
  if not rest then return false end
  rest = string.match(rest, '^%.%d+(.*)$') or rest
  return rest == '' or string.find(rest, '^[eE][%+%-]?%d+$') ~= nil
end

-- Returns what is wrong with a message of JSON. It is stored as one line.
local function wrong_json(text)
  if #text > most_parsed then
    return 'the message has ' .. #text .. ' bytes; at most ' .. most_parsed .. ' can be appended by FCALL'
  end
  if string.find(text, '[%z\1-\31]') then return 'the message must be JSON on one line, without control characters' end
  if not is_utf8(text) then return 'the message is not UTF-8' end
  if not pcall(cjson.decode, text) then return 'the message is not JSON' end
  local outside = string.gsub(string.gsub(text, '\\.', ''), '"[^"]*"', ' ')
  for word in string.gmatch(outside, '[^%[%]{},: ]+') do
    if word ~= 'true' and word ~= 'false' and word ~= 'null' and not is_number(word) then
      return 'the message is not JSON: ' .. string.sub(word, 1, 40)
    end
  end
end

local function whole(text)
  return string.find(text, '^%d+$') and #text <= 16 and tonumber(text) <= 9007199254740991
end

local function wrong_arguments(args)
  if #args ~= 1 and #args ~= 2 and #args ~= 3 and #args ~= 6 then
    return 'one to three arguments are required, or six: bytes, end, reason, and the producer\'s id, epoch and number'
  end
  local ending, reason = args[2] or '', args[3] or ''
  if ending ~= '' and not ends[ending] then return 'the end must be complete, error or cancelled' end
  if reason ~= '' and ending == '' then return 'a reason needs an end' end
  if #reason > 256 or string.find(reason, '[^\32-\126]') then
    return 'the reason must have at most 256 bytes of visible ASCII'
  end
  if args[1] == '' and ending == '' then return 'there are no bytes; append some, or end the stream' end
  if #args == 6 then
    if args[4] == '' or #args[4] > 256 then return 'the producer\'s id must have 1 to 256 bytes' end
    if not (whole(args[5]) and whole(args[6])) then
      return 'the producer\'s epoch and number must be whole numbers up to 9007199254740991'
    end
  end
end

local refusals = {
  missing = 'there is no such stream; create it with PUT /v1/stream/<name>',
  deleted = 'the stream was deleted',
  producers = 'the stream has too many producers',
  epoch = 'the first number of a new epoch must be 0',
  large = 'the stream would have more than ' .. most_bytes .. ' bytes',
}

local function outcome(word, reply)
  local is_closed = word == 'closed' or word == 'lapsed'
  if is_closed then
    return refuse('the stream has ended: ' .. reply[4] .. (reply[5] ~= '' and ' (' .. reply[5] .. ')' or ''))
  end
  if word == 'gap' then return refuse('the producer\'s number must be ' .. reply[6]) end
  if word == 'stale' then return refuse('a producer of this id has begun the epoch ' .. reply[6]) end
  if refusals[word] then return refuse(refusals[word]) end
  local generation = string.match(reply[3], '(%d+):$')
  return {string.format('%s_%016.0f', string.rep('0', 16 - #generation) .. generation, reply[2]), word == 'repeated' and 1 or 0}
end

local function append(keys, args)
  if #keys ~= 1 and #keys ~= 3 then
    return refuse('exactly one key is required: ' .. prefix .. ':{stream:<name>}:meta; or with those that end with :data and :refs')
  end
  local wrong = wrong_stream(keys[1]) or wrong_arguments(args)
  if wrong then return refuse(wrong) end
  local base = string.sub(keys[1], 1, -5)
  if keys[2] and (keys[2] ~= base .. 'data' or keys[3] ~= base .. 'refs') then
    return refuse('the second and the third key must be ' .. base .. 'data and ' .. base .. 'refs')
  end
  local bytes, kind = args[1], redis.call('HGET', keys[1], 'cn')
  if kind == 'application/json' and bytes ~= '' then
    wrong = wrong_json(bytes)
    if wrong then return refuse(wrong) end
    bytes = bytes .. '\n'
  end
  local words = {
    bytes, '', args[2] or '', args[3] or '', '', args[4] or '', args[5] or '', args[6] or '', '', most_bytes, most_producers,
    keep, most_published,
  }
  local reply = append_stream({keys[1], base .. 'data', base .. 'refs'}, words)
  return outcome(reply[1], reply)
end

redis.register_function(append_name, append)
