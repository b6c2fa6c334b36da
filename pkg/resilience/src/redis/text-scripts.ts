/**
 * Texts that several processes hold, each until a time, and those that were taken out lately. KEYS, both on one node of a Cluster:
 *
 * 1. sorted set: `+text` (held) or `-text` (taken out) → number of the change that made it so. The empty member has a higher number than
 *    all of them. Numbers grow with the time of the server in microseconds: those of a server that knows less, since it took over or
 *    began anew, are none that were given before.
 * 2. sorted set: the same but for the empty one → when it is over, in milliseconds since the Unix epoch.
 *
 * When only one of them is there, since the other was evicted, both begin anew.
 */
const prelude = `
local order, untils = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local nowUs = time[1] * 1000000 + time[2]
local now = math.floor(nowUs / 1000)
local over = redis.call('ZRANGEBYSCORE', untils, '-inf', now, 'LIMIT', 0, 500)
if #over > 0 then
  redis.call('ZREM', order, unpack(over))
  redis.call('ZREM', untils, unpack(over))
end
local count, numbered = redis.call('ZCARD', untils), redis.call('ZCARD', order)
if numbered ~= count + 1 and numbered + count > 0 then
  redis.call('DEL', order, untils)
  count = 0
end
local head = tonumber(redis.call('ZSCORE', order, '') or 0)
local function plain(number) return string.format('%.0f', number) end
local function change(member, stays)
  local number = math.max(head + 1, nowUs)
  head = number + 1
  redis.call('ZADD', untils, stays, member)
  redis.call('ZADD', order, plain(number), member, plain(head), '')
end
local function drop(member)
  if redis.call('ZREM', untils, member) == 0 then return false end
  redis.call('ZREM', order, member)
  count = count - 1
  return true
end
`;

/**
 * ARGV: how many there may be, `1` to add only what is neither held nor taken out, and by turns texts and when each is over (`inf`: never).
 * @returns How many found no place.
 */
export const addTextsScript = `${prelude}
local max, onlyMissing, refused = tonumber(ARGV[1]), ARGV[2] == '1', 0
for at = 3, #ARGV, 2 do
  local yes, no, stays = '+' .. ARGV[at], '-' .. ARGV[at], ARGV[at + 1]
  local old = redis.call('ZSCORE', untils, yes)
  local isOver = stays ~= 'inf' and tonumber(stays) <= now
  local isSame = old and (old == stays or tonumber(old) == tonumber(stays))
  local isKnown = onlyMissing and (old or redis.call('ZSCORE', untils, no))
  if not (isOver or isSame or isKnown) then
    drop(no)
    if old or count < max then
      if not old then count = count + 1 end
      change(yes, stays)
    else
      refused = refused + 1
    end
  end
end
return refused
`;

/** ARGV: for how long it is remembered that they were taken out, in milliseconds, and the texts. */
export const removeTextsScript = `${prelude}
local latest = now + tonumber(ARGV[1])
for at = 2, #ARGV do
  local yes = '+' .. ARGV[at]
  local old = redis.call('ZSCORE', untils, yes)
  drop(yes)
  change('-' .. ARGV[at], plain(old and old ~= 'inf' and math.min(tonumber(old), latest) or latest))
end
return 0
`;

/**
 * ARGV: the number after which, and how many at most.
 * @returns The highest number there is, that of the last one here, and by turns `+text` or `-text` and when it is over.
 */
export const changedTextsScript = `${prelude}
local found = redis.call('ZRANGEBYSCORE', order, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[2]))
local reply = { plain(head), found[#found] or ARGV[1] }
for at = 1, #found, 2 do
  if found[at] ~= '' then
    reply[#reply + 1] = found[at]
    reply[#reply + 1] = redis.call('ZSCORE', untils, found[at])
  end
end
return reply
`;
