/**
 * Takes from a sliding window, all or nothing, by the same slices as the limiter in memory. A key is a hash: number of a slice → how
 * many in it and when the last, `12:1767225600000`. Uses at a time that has not come, since the server's clock was set back or another
 * server took over, count as made now.
 *
 * KEYS: the key. ARGV: limit, window, slice, cost, owed, and for tests the time; all times in milliseconds.
 * @returns Whether it may go, how many more may, how long until it may, how long until the key is full.
 */
export const takeScript = `
local limit, window, slice = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost, add = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local fields = redis.call('HGETALL', KEYS[1])
local current = string.format('%.0f', math.floor(now / slice))
local total, inCurrent, uses, gone = 0, 0, {}, {}
for at = 1, #fields, 2 do
  local count, last = string.match(fields[at + 1], '^(%d+):(%d+)$')
  count, last = tonumber(count), tonumber(last)
  if last > now then
    add = add + count
    gone[#gone + 1] = fields[at]
  elseif last + window <= now then
    gone[#gone + 1] = fields[at]
  else
    total = total + count
    if fields[at] == current then inCurrent = count end
    uses[#uses + 1] = { count, last }
  end
end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
if add > 0 then
  total = total + add
  uses[#uses + 1] = { add, now }
end
local allowed = total + cost <= limit
if allowed then add = add + cost end
if add > 0 then
  redis.call('HSET', KEYS[1], current, string.format('%.0f:%.0f', inCurrent + add, now))
  redis.call('PEXPIRE', KEYS[1], window)
end
if allowed then return { 1, limit - total - cost, 0, window } end
table.sort(uses, function(a, b) return a[2] < b[2] end)
local left, retry = total + cost - limit, window
for _, use in ipairs(uses) do
  left = left - use[1]
  if left <= 0 then
    retry = use[2] + window - now
    break
  end
end
return { 0, math.max(0, limit - total), retry, uses[#uses][2] + window - now }
`;

/** Gives back what was taken last. KEYS: the key. ARGV: how much. */
export const giveBackScript = `
local left = tonumber(ARGV[1])
local fields = redis.call('HGETALL', KEYS[1])
local uses = {}
for at = 1, #fields, 2 do
  local count, last = string.match(fields[at + 1], '^(%d+):(%d+)$')
  uses[#uses + 1] = { tonumber(count), tonumber(last), fields[at], last }
end
table.sort(uses, function(a, b) return a[2] > b[2] end)
for _, use in ipairs(uses) do
  if left <= 0 then break end
  local back = math.min(left, use[1])
  left = left - back
  if back == use[1] then redis.call('HDEL', KEYS[1], use[3])
  else redis.call('HSET', KEYS[1], use[3], string.format('%.0f:%s', use[1] - back, use[4])) end
end
return 0
`;
