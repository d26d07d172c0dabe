import * as z from 'zod';
import { PullResult, TaskJobData, TaskProgress } from './pull-task.ts';
import { connectionOf, queueKey, type TaskQueue } from './queue.ts';
import { RedisScript } from './redis-script.ts';

/** What Redis has of a task, all of it from one moment. Times are in ms. */
export interface TaskRecord {
  readonly id: string;
  readonly data: TaskJobData;
  readonly progress: TaskProgress | null;
  readonly result: PullResult | null;
  /** Of the last attempt that failed, `code: message`. */
  readonly failedReason: string;
  /** How often a worker died over it. */
  readonly deaths: number;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** A worker has it. */
  readonly active: boolean;
}

/**
 * The fields of a job's hash, and whether a worker has it. BullMQ's own `getState` is a second journey, so that a job can
 * end in between, and it looks through the list `wait`, where an operator's "retry all" puts thousands. `active` is
 * as long as there are tasks running, and a task that neither runs nor has ended waits, wherever that is noted.
 */
const readScript = new RedisScript(`
local found = redis.call('HMGET', KEYS[1], 'data', 'progress', 'returnvalue', 'failedReason', 'stc', 'timestamp', 'processedOn', 'finishedOn')
if not found[1] then return false end
found[9] = (not found[8] and redis.call('LPOS', KEYS[2], ARGV[1])) and 1 or 0
return found`);

const text = z.string().nullable();
const count = z.coerce.number().int().min(0);
/** Ms, as far as a Date reaches. */
const time = count.max(8_640_000_000_000_000);
const ifReached = z.null().or(time);
const found = z.tuple([z.string(), text, text, text, text, time, ifReached, ifReached, z.number()]).nullable();

/**
 * null when there is no such task (any more), or what has its id is none: operators' tools make jobs and edit them, and one must not hide
 * the tasks beside it.
 */
export async function readTask(queue: TaskQueue, id: string): Promise<TaskRecord | null> {
  const answer = await readScript.run(connectionOf(queue), [queueKey(id), queueKey('active')], [id]);
  const { data: fields = null } = found.safeParse(answer);
  if (fields === null) return null;
  const [json, progress, result, failedReason, deaths, createdAt, startedAt, endedAt, active] = fields;
  const { data } = TaskJobData.safeParse(parseJson(json));
  if (data === undefined) return null;
  return {
    id,
    data,
    progress: TaskProgress.safeParse(parseJson(progress)).data ?? null,
    result: PullResult.safeParse(parseJson(result)).data ?? null,
    failedReason: failedReason ?? '',
    deaths: Number(deaths ?? 0),
    createdAt,
    startedAt,
    endedAt,
    active: active === 1,
  };
}

/** What workers of any version wrote, or operators. */
function parseJson(json: string | null): unknown {
  try {
    return json === null ? null : JSON.parse(json);
  } catch {
    return null;
  }
}
