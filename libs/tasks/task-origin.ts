import * as z from 'zod';
import { connectionOf, queueKey, type TaskQueue } from './queue.ts';
import { RedisScript } from './redis/redis-script.ts';

/** The part of a task that never changes. */
export interface TaskOrigin {
  readonly id: string;
  /** When it was created, in ms since 1970. */
  readonly time: number;
  readonly owner: string;
}

/** Tasks read in one call: a ms or two, during which Redis runs no other command. */
const chunk = 250;

/** For each existing task of ARGV[2…]: its id, its time of creation in ms, and its owner. */
const originScript = new RedisScript(`
local found = {}
for i = 2, #ARGV do
  local fields = redis.call('HMGET', ARGV[1] .. ARGV[i], 'timestamp', 'data')
  local isJson, data = pcall(cjson.decode, fields[2] or '')
  if fields[1] then
    found[#found + 1] = ARGV[i]
    found[#found + 1] = fields[1]
    found[#found + 1] = isJson and type(data) == 'table' and type(data.owner) == 'string' and data.owner or ''
  end
end
return found`);

const texts = z.array(z.string());

/** Most cached tasks of a queue: some MB. */
const MOST_KNOWN = 20_000;

/** A cache: reading 10,000 tasks each time would cost Redis and this process 20 ms each. */
const known = new WeakMap<TaskQueue, Map<string, TaskOrigin>>();

/** The origins of those tasks that exist, in the given order. */
export async function originsOf(queue: TaskQueue, ids: readonly string[]): Promise<TaskOrigin[]> {
  const before = known.get(queue) ?? new Map<string, TaskOrigin>();
  known.set(queue, before);
  const asked = await askFor(
    queue,
    ids.filter((id) => !before.has(id)),
  );
  const origins: TaskOrigin[] = [];
  for (const id of ids) {
    const origin = before.get(id) ?? asked.get(id);
    if (origin !== undefined) origins.push(origin);
  }
  for (const [id, origin] of asked) before.set(id, origin);
  // The oldest in the cache are mostly the first to end.
  for (const id of before.keys()) {
    if (before.size <= MOST_KNOWN) break;
    before.delete(id);
  }
  return origins;
}

async function askFor(queue: TaskQueue, ids: readonly string[]): Promise<ReadonlyMap<string, TaskOrigin>> {
  const origins = new Map<string, TaskOrigin>();
  for (let start = 0; start < ids.length; start += chunk) {
    const args = [queueKey(''), ...ids.slice(start, start + chunk)];
    // The key tells a Cluster in which slot the jobs are.
    const found = texts.parse(await originScript.run(connectionOf(queue), [queueKey('meta')], args));
    for (let at = 0; at < found.length; at += 3) {
      const [id = '', time, owner = ''] = found.slice(at, at + 3);
      origins.set(id, { id, time: Number(time), owner });
    }
  }
  return origins;
}
