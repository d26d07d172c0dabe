import * as z from 'zod';
import { PullResult, TaskJobData, TaskProgress } from './pull-task.ts';
import { connectionOf, queueKey, type TaskQueue } from './queue.ts';
import { RedisScript } from './redis/redis-script.ts';

/** A consistent snapshot of a task in Redis. Times are in ms since 1970. */
export interface TaskRecord {
  readonly id: string;
  readonly data: TaskJobData;
  readonly progress: TaskProgress | null;
  readonly result: PullResult | null;
  /** Reason of the last failed attempt, `code: message`; empty when none has failed. */
  readonly failedReason: string;
  /** How often a worker has died while processing it. */
  readonly deaths: number;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** Whether a worker is processing it. */
  readonly active: boolean;
}

/**
 * Reads the fields of a job's hash, and whether a worker has it. BullMQ's `getState` would be a second round trip, between which
 * the job can end, and it searches the list `wait`, to which an operator's "retry all" adds thousands. `active` only holds the
 * running tasks; a task that neither runs nor has ended is waiting, in whichever list.
 */
const readScript = new RedisScript(`
local found = redis.call('HMGET', KEYS[1], 'data', 'progress', 'returnvalue', 'failedReason', 'stc', 'timestamp', 'processedOn', 'finishedOn')
if not found[1] then return false end
found[9] = (not found[8] and redis.call('LPOS', KEYS[2], ARGV[1])) and 1 or 0
return found`);

const text = z.string().nullable();
const count = z.coerce.number().int().min(0);
/** Ms, within the range of a Date. */
const time = count.max(8_640_000_000_000_000);
const ifReached = z.null().or(time);
const found = z.tuple([z.string(), text, text, text, text, time, ifReached, ifReached, z.number()]).nullable();

/**
 * Reads a task. Null when it does not exist (any more), or the job is malformed: operators' tools create and edit jobs, and one must not
 * break the list of the others.
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

/** Null for invalid JSON, which an operator may have written. */
function parseJson(json: string | null): unknown {
  try {
    return json === null ? null : JSON.parse(json);
  } catch {
    return null;
  }
}
