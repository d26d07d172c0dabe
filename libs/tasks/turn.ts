import { KEY_PREFIX, queueKey } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';
import { RedisScript } from './redis/redis-script.ts';

/** BullMQ's largest priority; a queue that never becomes empty ends up there, first come, first served. */
const lastTurn = 2 ** 21 - 1;

/**
 * Start-time fair queueing. The turn of a task follows the last one of its owner, but not before the turn that the queue has
 * reached (that of its head: `score = priority * 2^32 + counter` in BullMQ). An empty queue begins again at 1.
 */
const turnScript = new RedisScript(`
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local reached = 0
if head[2] then
  reached = math.floor(tonumber(head[2]) / 4294967296) - 1
else
  redis.call('DEL', KEYS[2])
end
local last = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
local turn = math.min(math.max(reached, last) + 1, tonumber(ARGV[2]))
redis.call('HSET', KEYS[2], ARGV[1], turn)
return turn`);

/**
 * The turn of the owner's next task, which becomes its BullMQ priority: owners take turns, and each owner's tasks keep their
 * order, so that a hundred pulls of one owner do not delay the single pull of another.
 */
export async function takeTurn(redis: RedisClient, owner: string): Promise<number> {
  const keys = [queueKey('prioritized'), `${KEY_PREFIX}:turns`];
  return Number(await turnScript.run(redis, keys, [owner, lastTurn]));
}
