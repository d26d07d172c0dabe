import * as z from 'zod';
import { queueKey } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';
import { RedisScript } from './redis/redis-script.ts';

/** Of the active jobs only, which are few: BullMQ fails on such a job after it has moved it there. */
const emptyScript = new RedisScript(`
local unreadable = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  for _, field in ipairs({'data', 'opts', 'progress'}) do
    local json = redis.call('HGET', ARGV[1] .. id, field)
    local isJson, value = pcall(cjson.decode, json or '{}')
    if not isJson or type(value) ~= 'table' then
      redis.call('HSET', ARGV[1] .. id, field, '{}')
      unreadable[#unreadable + 1] = id .. ' (' .. field .. ')'
    end
  end
end
return unreadable`);

/**
 * Empties what is no JSON object in active jobs, by the hand of an operator or a bug of a tool, and resolves with what that was. No worker
 * can take such a job, and BullMQ would give it to one after another for ever. Emptied, it runs at the next takeover, or fails if it is
 * its data that were lost.
 */
export async function emptyUnreadableFields(redis: RedisClient): Promise<string[]> {
  return z.array(z.string()).parse(await emptyScript.run(redis, [queueKey('active')], [queueKey('')]));
}
