import * as z from 'zod';
import { connectionOf, queueKey, type TaskQueue } from './queue.ts';
import { RedisScript } from './redis-script.ts';

/** What never changes about a task. */
export interface TaskOrigin {
  readonly id: string;
  /** Ms: when it was made. */
  readonly time: number;
  readonly owner: string;
}

/** Tasks that Redis looks at in one call: few enough for a ms or two, so that no other command waits for long. */
const chunk = 250;

/** Of the tasks ARGV[2…] that are there: id, ms when it was made, and owner in turn. */
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

/** Of one queue: some MB. */
const MOST_KNOWN = 20_000;

/** What this process has been told: to ask for 10,000 tasks each time costs Redis and this process 20 ms each. */
const known = new WeakMap<TaskQueue, Map<string, TaskOrigin>>();

/** Where those of the tasks come from that are there, in the order given. */
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
  // The first that were told are the first to end, mostly.
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
    // The key is there to tell a Cluster in which slot the jobs are.
    const found = texts.parse(await originScript.run(connectionOf(queue), [queueKey('meta')], args));
    for (let at = 0; at < found.length; at += 3) {
      const [id = '', time, owner = ''] = found.slice(at, at + 3);
      origins.set(id, { id, time: Number(time), owner });
    }
  }
  return origins;
}
