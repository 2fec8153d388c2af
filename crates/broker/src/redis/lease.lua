-- Renews or acquires a node's lease.
--
-- KEYS: the lease, all nodes, the node's index, the index of earlier processes with its id, the incarnation that
--       the index belongs to.
-- ARGV: node, incarnation, the lease's value, its time in ms.
-- Returns 'renewed', 'taken' or 'foreign'; or 'moving': call again, since the sessions of an earlier process are moved in
-- steps.

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

-- A process that follows another one with the same id holds none of its sessions: they are moved aside for the sweep.
-- A process whose own lease had expired still holds its sessions.
-- A key of a wrong type fails here, before the first change.
local before = redis.call('GET', incarnation)
local held = redis.call('SCARD', index)
local aside = redis.call('SCARD', former)
redis.call('SADD', nodes, node)
if before and before ~= mine and held > 0 then
  if aside == 0 then
    redis.call('RENAME', index, former)
  else
    -- The sessions of the process before were not swept yet.
    redis.call('SADD', former, unpack(redis.call('SPOP', index, 1000)))
    if held > 1000 then return 'moving' end
  end
end
if before ~= mine then redis.call('SET', incarnation, mine) end
redis.call('SET', lease, ARGV[3], 'PX', ARGV[4])
return outcome
