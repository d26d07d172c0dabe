import * as z from 'zod';
import { connectionOf, queueKey, type TaskQueue } from './queue.ts';
import { RedisScript } from './redis/redis-script.ts';
import { originsOf } from './task-origin.ts';
import { findTask, type OwnedTask, type TaskStatus } from './task-view.ts';

/** A position in the list of tasks: those in progress come first, then the ended ones, each with the latest first. */
export interface TaskPosition {
  readonly ended: boolean;
  /** Ms since 1970: when it ended, or when it was created if it is in progress. */
  readonly time: number;
  readonly id: string;
}

export interface ListTasksOptions {
  /** The last task of the page before. */
  readonly after?: TaskPosition | undefined;
  readonly limit: number;
  /** Only this owner's tasks; by default everybody's. */
  readonly owner?: string | undefined;
  readonly status?: TaskStatus | undefined;
}

export interface TaskPage {
  readonly tasks: readonly OwnedTask[];
  /** The last task of this page, for `after`; null when no other follows. */
  readonly next: TaskPosition | null;
}

/** Tasks examined in one call: about a ms, during which Redis runs no other command. */
const chunk = 500;

/**
 * Selects from the tasks ARGV[4…] those of the owner ARGV[2] (everybody's, if empty) that can have the status ARGV[3]. Returns, for
 * each, its id and its time of creation in ms. The owner is in the data; most tasks of others are recognised without parsing it.
 */
const selectScript = new RedisScript(`
local prefix, owner, status = ARGV[1], ARGV[2], ARGV[3]
local function ownerOf(text)
  local isJson, data = pcall(cjson.decode, text)
  return isJson and type(data) == 'table' and data.owner
end
local selected = {}
for i = 4, #ARGV do
  local key = prefix .. ARGV[i]
  local wanted = true
  if owner ~= '' or status ~= '' then
    local fields = redis.call('HMGET', key, 'data', 'failedReason')
    local data = fields[1]
    wanted = data and (owner == '' or (string.find(data, owner, 1, true) and ownerOf(data) == owner))
    if wanted and (status == 'failed' or status == 'cancelled') then
      local cancelled = string.sub(fields[2] or '', 1, 10) == 'cancelled:' or string.find(data, '"cancelRequested":true', 1, true)
      wanted = status == 'failed' or cancelled
    end
  end
  local time = wanted and redis.call('HGET', key, 'timestamp')
  if time then
    selected[#selected + 1] = ARGV[i]
    selected[#selected + 1] = time
  end
end
return selected`);

/**
 * A page of tasks. One that ends between two pages may be missed by the second, or appear again. Only tasks on the page are read
 * completely; of others, only the owner and the time.
 */
export async function listTasks(queue: TaskQueue, options: ListTasksOptions): Promise<TaskPage> {
  const { limit, status } = options;
  const tasks: OwnedTask[] = [];
  let last: TaskPosition | null = null;
  for await (const positions of positionsInOrder(queue, options)) {
    // One more than fits on the page shows whether another follows.
    for (let start = 0; start < positions.length; start += limit + 1) {
      const some = positions.slice(start, start + limit + 1);
      const found = await Promise.all(some.map(({ id }) => findTask(queue, id)));
      for (const [index, position] of some.entries()) {
        const task = found[index];
        if (!task || (status !== undefined && task.view.status !== status)) continue;
        if (tasks.length === limit) return { tasks, next: last };
        tasks.push(task);
        last = position;
      }
    }
  }
  return { tasks, next: null };
}

const waiting = ['prioritized', 'delayed', 'wait'] as const;

/** The lists in which BullMQ keeps tasks with a status. One that moves while they are read may be missed. */
const listsUnderWay: Readonly<Record<TaskStatus, readonly string[]>> = {
  queued: waiting,
  running: ['active'],
  completed: [],
  failed: [],
  // Cancelled before it ran, and not removed from the queue yet.
  cancelled: waiting,
};
const listsEnded: Readonly<Record<TaskStatus, readonly string[]>> = {
  queued: [],
  running: [],
  completed: ['completed'],
  failed: ['failed'],
  cancelled: ['failed'],
};

async function* positionsInOrder(queue: TaskQueue, options: ListTasksOptions): AsyncGenerator<readonly TaskPosition[]> {
  const { after, status } = options;
  if (after?.ended !== true) {
    const lists = status === undefined ? ['active', ...waiting] : listsUnderWay[status];
    // A set, since a task that moves while the lists are read may be in two of them.
    const ids = new Set((await Promise.all(lists.map((list) => idsUnderWay(queue, list)))).flat());
    yield (await underWay(queue, [...ids], options))
      // A job that an operator's tool has left without a time cannot be ordered, and is not a task (see `readTask`).
      .filter(({ time }) => Number.isFinite(time))
      .map(({ id, time }) => ({ ended: false, time, id }))
      .filter((position) => isBehind(position, after))
      .sort(compare);
  }
  const lists = status === undefined ? ['completed', 'failed'] : listsEnded[status];
  yield* merge(lists.map((list) => endedIn(queue, list, options)));
}

function idsUnderWay(queue: TaskQueue, list: string): Promise<string[]> {
  const redis = connectionOf(queue);
  const isList = list === 'wait' || list === 'active';
  return isList ? redis.lrange(queueKey(list), 0, -1) : redis.zrange(queueKey(list), 0, '-1');
}

/** The owner's tasks that can have the status, and when they were created. */
async function underWay(
  queue: TaskQueue,
  ids: readonly string[],
  { owner, status }: Pick<ListTasksOptions, 'owner' | 'status'>,
): Promise<readonly TaskTime[]> {
  // Whether a task is cancelled may change, so it is not cached; few are.
  if (status === 'cancelled') return select(queue, ids, { owner, status });
  const origins = await originsOf(queue, ids);
  return owner === undefined ? origins : origins.filter((origin) => origin.owner === owner);
}

interface TaskTime {
  readonly id: string;
  /** Ms. */
  readonly time: number;
}

/** The owner's tasks that can have the status, in the given order, and when they were created. */
async function select(
  queue: TaskQueue,
  ids: readonly string[],
  { owner = '', status = '' }: { readonly owner?: string | undefined; readonly status?: string | undefined },
): Promise<TaskTime[]> {
  const selected: TaskTime[] = [];
  for (let start = 0; start < ids.length; start += chunk) {
    const args = [queueKey(''), owner, status, ...ids.slice(start, start + chunk)];
    // The key tells a Cluster in which slot the jobs are.
    selected.push(...inPairs(await selectScript.run(connectionOf(queue), [queueKey('meta')], args)));
  }
  return selected;
}

/** The ended tasks of one sorted set, whose scores are the times when they ended, piece by piece. */
async function* endedIn(
  queue: TaskQueue,
  list: string,
  { after, owner, status }: ListTasksOptions,
): AsyncGenerator<readonly TaskPosition[]> {
  const redis = connectionOf(queue);
  const last = after?.ended === true ? after : undefined;
  let from = String(last?.time ?? '+inf');
  for (let start = 0; ; start += chunk) {
    const ended = inPairs(
      await redis.zrevrangebyscore(queueKey(list), from, '-inf', 'WITHSCORES', 'LIMIT', start, chunk),
    );
    const [first] = ended;
    if (first === undefined) return;
    // So that tasks which end from now on do not shift the following pieces.
    if (start === 0) from = String(first.time);
    const known = owner === undefined && status !== 'failed' && status !== 'cancelled';
    const ids = ended.map(({ id }) => id);
    const selected = known ? undefined : new Set((await select(queue, ids, { owner, status })).map(({ id }) => id));
    yield ended
      .filter(({ id }) => selected?.has(id) ?? true)
      .map(({ id, time }) => ({ ended: true, time, id }))
      .filter((position) => isBehind(position, last));
  }
}

const texts = z.array(z.string());

function inPairs(answer: unknown): TaskTime[] {
  const found = texts.parse(answer);
  return Array.from({ length: found.length / 2 }, (_, i) => ({
    id: found[2 * i] ?? '',
    time: Number(found[2 * i + 1]),
  }));
}

/** Merges sorted sources piece by piece. */
async function* merge(
  sources: readonly AsyncGenerator<readonly TaskPosition[]>[],
): AsyncGenerator<readonly TaskPosition[]> {
  const pieces = await Promise.all(sources.map((source) => nextPiece(source)));
  for (;;) {
    const ready: TaskPosition[] = [];
    while (pieces.every((piece) => piece === null || piece.length > 0)) {
      const heads = pieces.flatMap((piece) => piece?.[0] ?? []);
      const first = heads.sort(compare)[0];
      if (first === undefined) break;
      ready.push(first);
      pieces.find((piece) => piece?.[0] === first)?.shift();
    }
    if (ready.length > 0) yield ready;
    const empty = pieces.findIndex((piece) => piece !== null && piece.length === 0);
    if (empty === -1) return;
    const source = sources[empty];
    pieces[empty] = source === undefined ? null : await nextPiece(source);
  }
}

/** Null at the end. A piece may be empty, when nothing in it is wanted. */
async function nextPiece(source: AsyncGenerator<readonly TaskPosition[]>): Promise<TaskPosition[] | null> {
  const { done, value } = await source.next();
  return done === true ? null : [...value];
}

/** Redis orders members with the same score lexicographically, so ids are compared here too. */
function compare(one: TaskPosition, other: TaskPosition): number {
  return other.time - one.time || (one.id < other.id ? 1 : -1);
}

function isBehind(position: TaskPosition, after: TaskPosition | undefined): boolean {
  return after === undefined || (position.id !== after.id && compare(after, position) < 0);
}
