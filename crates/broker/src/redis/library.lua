-- The function that publishers call. It checks everything that a node checks before it publishes, and derives the names
-- and the retention from the log's name.
--
-- Prepended to this: the settings of the nodes, the reserved types (see library.rs) and publish.lua.

-- The forms of a character of several bytes (Unicode 15, table 3-7), the most frequent first.
local forms = {
  '[\225-\236\238\239][\128-\191][\128-\191]', '[\194-\223][\128-\191]',
  '\240[\144-\191][\128-\191][\128-\191]', '\224[\160-\191][\128-\191]', '\237[\128-\159][\128-\191]',
  '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
}

-- Maximum bytes of a text that is checked: up to some milliseconds of Redis, in which it does nothing else. Of longer
-- texts, the nodes skip those that are not UTF-8.
local most_looked_at = 65536

local function is_utf8(text)
  if #text > most_looked_at or not string.find(text, '[\128-\255]') then return true end
  -- Removes each valid character; the rest is not UTF-8. A mark in its place keeps the bytes around it apart.
  for _, form in ipairs(forms) do
    text = string.gsub(text, form, '.')
    if not string.find(text, '[\128-\255]') then return true end
  end
  return false
end

-- Matches a name: each `*` first matches as little as possible, and more if the rest does not match.
local function matches(pattern, name)
  local p, n, star, from = 1, 1, nil, nil
  while n <= #name do
    local wanted = string.byte(pattern, p)
    if wanted == 42 then
      star, from = p, n
      p = p + 1
    elseif wanted and wanted == string.byte(name, n) then
      p, n = p + 1, n + 1
    elseif star then
      from = from + 1
      p, n = star + 1, from
    else
      return false
    end
  end
  return not string.find(string.sub(pattern, p), '[^*]')
end

local function retention(channel)
  for _, rule in ipairs(rules) do
    if matches(rule.pattern, channel) then return rule end
  end
  return default
end

-- The form of a trace context. While the library is loaded, there is no string.rep.
local digits = '[%da-f][%da-f][%da-f][%da-f][%da-f][%da-f][%da-f][%da-f]'
local two = '[%da-f][%da-f]'
local trace_form = '^(' .. two .. ')%-(' .. digits .. digits .. digits .. digits .. ')%-(' .. digits .. digits .. ')%-('
  .. two .. ')(.*)$'

local function wrong_channel(log)
  local head, tail = prefix .. ':{', '}:log'
  if string.sub(log, 1, #head) ~= head or string.sub(log, -#tail) ~= tail or #log < #head + #tail then
    return nil, 'the key must be ' .. head .. '<channel>' .. tail
  end
  local channel = string.sub(log, #head + 1, -#tail - 1)
  if channel == '' then return nil, 'the channel name is empty; it must have 1 to 255 bytes' end
  if #channel > 255 then
    return nil, 'the channel name has ' .. #channel .. ' bytes; at most 255 are allowed'
  end
  local at = string.find(channel, '[^%w%-_.:@|/+=~%%$!#&;]')
  if at then
    return nil, 'the channel name has a character at byte ' .. (at - 1)
      .. ' that is not allowed: allowed are ASCII letters, digits and -_.:@|/+=~%$!#&;'
  end
  if string.sub(channel, 1, 8) == 'fanfare:' then
    return nil, 'only nodes publish to channels that begin with "fanfare:"'
  end
  if string.sub(channel, 1, 7) == 'stream:' then
    return nil, 'channels that begin with stream: are finite streams, which are read and written at /v1/stream/'
  end
  return channel
end

local function wrong_type(kind)
  if #kind > 128 then return 'the event type has ' .. #kind .. ' bytes; at most 128 are allowed' end
  if string.find(kind, '[\r\n%z]') then return 'the event type must be one line without CR, LF and NUL' end
  if not is_utf8(kind) then return 'the event type is not UTF-8' end
  if reserved_types[kind] then return reserved_types[kind] end
end

local function wrong_data(data)
  if #data > max_data then return 'the data has ' .. #data .. ' bytes; at most ' .. max_data .. ' are allowed' end
  if not is_utf8(data) then return 'the data is not UTF-8; only UTF-8 can be sent as server-sent events' end
end

local function wrong_key(key)
  if key == '' or #key > 128 or string.find(key, '[%z\1-\31\127]') or string.find(key, '\194[\128-\159]')
      or not is_utf8(key) then
    return 'the key must have 1 to 128 bytes of UTF-8 without control characters'
  end
end

local function wrong_except(except)
  local user, session = string.match(except, '^(.+)/([^/]*)$')
  session = session or except
  local hex = '%x%x%x%x'
  local uuid = '^' .. hex .. hex .. '%-' .. hex .. '%-' .. hex .. '%-' .. hex .. '%-' .. hex .. hex .. hex .. '$'
  if not string.find(session, uuid) or (user and (#user > 250 or string.find(user, '[^%w%-_.:@|/+=~%%$!#&;]'))) then
    return 'except must be <user>/<session>, or <session> for a client without a user; a session id is a UUID'
  end
end

-- Returns a trace context as this version writes it, or nil if it is malformed: then it is ignored (W3C Trace Context, 4.3).
local function trace_of(text)
  local version, trace, span, flags, rest = string.match(string.sub(text, 1, 56), trace_form)
  if not version or version == 'ff' or (version == '00' and rest ~= '') then return nil end
  if rest ~= '' and string.sub(rest, 1, 1) ~= '-' then return nil end
  if not string.find(trace, '[^0]') or not string.find(span, '[^0]') then return nil end
  return '00-' .. trace .. '-' .. span .. (tonumber(flags, 16) % 2 == 1 and '-01' or '-00')
end

local function refuse(why)
  return redis.error_reply('FANFARE ' .. why)
end

local function call(keys, args)
  if #keys ~= 1 then return refuse('exactly one key is required: ' .. prefix .. ':{<channel>}:log') end
  if #args < 2 or #args > 5 then
    return refuse('two to five arguments are required: type, data, key, except and traceparent')
  end
  local key, except, trace = args[3], args[4], args[5] and trace_of(args[5])
  if except and key == '' then key = nil end
  if args[5] and except == '' then except = nil end
  local channel, wrong = wrong_channel(keys[1])
  wrong = wrong or wrong_type(args[1]) or wrong_data(args[2]) or (key and wrong_key(key))
  wrong = wrong or (except and wrong_except(except))
  if wrong then return refuse(wrong) end

  local base = prefix .. ':{' .. channel .. '}:'
  local kept = retention(channel)
  local names = {keys[1], base .. 'last', base .. 'live', key and base .. 'once:' .. key}
  local words = {args[1], args[2], kept.events, kept.age, kept.positions, once}
  if except or trace then
    words[7], words[8], words[9], words[10], words[11], words[12] = '', '', '', '', except or '', trace
  end
  local answer = publish(names, words)
  return {answer[1], answer[2]}
end

redis.register_function(name, call)
