-- The rules of Tollgate's gate call in Redis: a key counts once, the month's allowance and top-ups cover the org, the
-- per-user limit covers the user; all of it or nothing.
--
-- KEYS  1 the org's plan    (hash: allowance, user_limit)
--       2 the org's month   (hash: used, top_up, u:<user>)
--       3 the usage's key   (string: what was asked, for 35 days)
-- ARGV  1 user   2 quantity   3 seconds that the key is remembered
-- Gives {1, remaining} or {0, reason}.
local user, quantity = ARGV[1], tonumber(ARGV[2])
local asked = user .. ' ' .. ARGV[2]

local seen = redis.call('GET', KEYS[3])
if seen then
  if seen == asked then return {1, 'replayed'} end
  return {0, 'key_reused'}
end

local plan = redis.call('HMGET', KEYS[1], 'allowance', 'user_limit')
if not plan[1] then return {0, 'no_plan'} end

local month = redis.call('HMGET', KEYS[2], 'used', 'top_up', 'u:' .. user)
local remaining = tonumber(plan[1]) + tonumber(month[2] or '0') - tonumber(month[1] or '0') - quantity
if remaining < 0 then return {0, 'org_limit_reached'} end
if plan[2] and tonumber(month[3] or '0') + quantity > tonumber(plan[2]) then
  return {0, 'user_limit_reached'}
end

redis.call('HINCRBY', KEYS[2], 'used', quantity)
redis.call('HINCRBY', KEYS[2], 'u:' .. user, quantity)
redis.call('SET', KEYS[3], asked, 'EX', ARGV[3])
return {1, string.format('%.0f', remaining)}
