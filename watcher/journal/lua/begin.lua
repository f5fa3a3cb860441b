-- Make sure that there is a journal, or give a rewound one a new epoch. Needs entry.lua, position.lua.
--
-- KEYS, ARGV: see watcher.journal.layout.Journal.begin. Offsets stay, so what was trimmed stays known.
-- Replies with the epoch, the offsets of the first event and of the last one that was ever added (first = last + 1 where
-- there is none), and the secret of the live channel, which is made where there is none; empty where Redis doesn't take
-- it.

local stream, live_secret, renewed = unpack(KEYS)
local rewound, live, fresh = ARGV[1], ARGV[2], ARGV[3]
local at = position(stream)
local epoch = at.epoch

if not epoch then
  -- An empty stream that ends at EPOCH-0: XADD can't make one, a group can.
  epoch = new_epoch()
  redis.call('XGROUP', 'CREATE', stream, 'begin', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', stream, 'begin')
  redis.call('XSETID', stream, epoch .. '-0')
  redis.call('PUBLISH', live, epoch .. ' 1')
elseif at.id == rewound then
  epoch = new_epoch()
  if epoch <= at.epoch then epoch = int(tonumber(at.epoch) + 1) end
  redis.call('DEL', renewed)
  redis.call('XGROUP', 'CREATE', renewed, 'begin', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', renewed, 'begin')
  local from = '-'
  while true do
    local found = redis.call('XRANGE', stream, from, '+', 'COUNT', 100)
    for _, raw in ipairs(found) do
      redis.call('XADD', renewed, epoch .. '-' .. string.match(raw[1], '-(%d+)$'), unpack(raw[2]))
    end
    if #found < 100 then break end
    from = '(' .. found[#found][1]
  end
  redis.call('XSETID', renewed, epoch .. '-' .. int(at.offset))
  redis.call('RENAME', renewed, stream)
  redis.call('PUBLISH', live, epoch .. ' ' .. int(at.offset + 1))
end

local secret = redis.call('MGET', live_secret)[1]
if (not secret or #secret ~= #fresh) and not redis.pcall('SET', live_secret, fresh).err then secret = fresh end
return {epoch, at.oldest and entry(at.oldest).first or at.offset + 1, at.offset, secret or ''}
