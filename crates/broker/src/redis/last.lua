-- Returns a channel's last position, of its log and the key that stores it: '0-0' without either.
local function last_position(log, last)
  local position = redis.call('GET', last)
  if position then
    -- The intake's mark may follow.
    position = string.match(position, '^%d+%-%d+$') or string.match(position, '^(%d+%-%d+) ')
    if position then return position end
  end
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  return newest and newest[1] or '0-0'
end

