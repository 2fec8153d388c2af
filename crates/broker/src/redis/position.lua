-- Arithmetic of positions. Publishers may choose ids, and Lua numbers are doubles, so beyond 2^53 positions are compared
-- and decremented as text.

-- Returns whether a position is before another.
local function is_before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)%-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)%-(%d+)$')
  if a_ms == b_ms then a_ms, b_ms = a_seq, b_seq end
  if #a_ms ~= #b_ms then return #a_ms < #b_ms end
  return a_ms < b_ms
end

-- Returns the number before one that is not 0.
local function less_one(digits)
  local head, digit, zeros = string.match(digits, '^(%d*)([1-9])(0*)$')
  local less = head .. tostring(tonumber(digit) - 1) .. string.rep('9', #zeros)
  return string.match(less, '^0*(%d+)$')
end

-- Returns the position just below one.
local function below(position)
  local ms, seq = string.match(position, '^(%d+)%-(%d+)$')
  if seq ~= '0' then return ms .. '-' .. less_one(seq) end
  return less_one(ms) .. '-18446744073709551615'
end
