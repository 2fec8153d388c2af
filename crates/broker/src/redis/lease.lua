-- Renews or takes a node's lease.
--
-- KEYS: the lease, all nodes, the node's index, what earlier processes of its name left, the incarnation that the
--       index belongs to.
-- ARGV: node, incarnation, the lease's value, its time in ms.
-- Answers 'renewed', 'taken' or 'foreign'.

local lease, nodes, index, former, incarnation = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local node, mine = ARGV[1], ARGV[2]

local outcome = 'taken'
local text = redis.call('GET', lease)
if text then
  local read, holder = pcall(cjson.decode, text)
  if read and type(holder) == 'table' and holder.incarnation then
    if holder.incarnation ~= mine then return 'foreign' end
    outcome = 'renewed'
  end
end

-- A process that follows another of the same name holds none of its sessions: they are put aside for the sweep.
-- One whose own lease had lapsed still holds them.
-- A key of another type fails here, before the first change.
local before = redis.call('GET', incarnation)
local held = redis.call('SCARD', index)
redis.call('SCARD', former)
redis.call('SADD', nodes, node)
if before and before ~= mine and held > 0 then
  redis.call('SUNIONSTORE', former, former, index)
  redis.call('DEL', index)
end
if before ~= mine then redis.call('SET', incarnation, mine) end
redis.call('SET', lease, ARGV[3], 'PX', ARGV[4])
return outcome
