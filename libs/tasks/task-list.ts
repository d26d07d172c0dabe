import * as z from 'zod';
import { connectionOf, queueKey, type TaskQueue } from './queue.ts';
import { RedisScript } from './redis-script.ts';
import { originsOf } from './task-origin.ts';
import { findTask, type OwnedTask, type TaskStatus } from './task-view.ts';

/** A place in the list of tasks. Those under way come first, then the ended, each the latest first. */
export interface TaskPosition {
  readonly ended: boolean;
  /** Ms: when it ended, or when it was made, where it is under way. */
  readonly time: number;
  readonly id: string;
}

export interface ListTasksOptions {
  /** The last task of the page before. */
  readonly after?: TaskPosition | undefined;
  readonly limit: number;
  /** Whose tasks; everybody's where left out. */
  readonly owner?: string | undefined;
  readonly status?: TaskStatus | undefined;
}

export interface TaskPage {
  readonly tasks: readonly OwnedTask[];
  /** The last task of this page, null when no other follows. */
  readonly next: TaskPosition | null;
}

/** Tasks that Redis looks at in one call: few enough for a ms, so that no other command waits for long. */
const chunk = 500;

/**
 * Of the tasks ARGV[4…] those of the owner ARGV[2] (everybody's, where that is empty) that can have the status ARGV[3],
 * and when each was made: id and ms in turn. The owner is in the data; most that are another's are told apart without
 * parsing it.
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
 * A page of tasks. One that ends between two pages may be missed by the second, or seen again. Only what is on the page
 * is read whole; of the others under way, and of another's, no more than when and whose.
 */
export async function listTasks(queue: TaskQueue, options: ListTasksOptions): Promise<TaskPage> {
  const { limit, status } = options;
  const tasks: OwnedTask[] = [];
  let last: TaskPosition | null = null;
  for await (const positions of positionsInOrder(queue, options)) {
    // One more than the page holds tells whether another follows.
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

/** Where BullMQ keeps the tasks with a status. One that moves while the lists are read may be missed. */
const listsUnderWay: Readonly<Record<TaskStatus, readonly string[]>> = {
  queued: waiting,
  running: ['active'],
  completed: [],
  failed: [],
  // Cancelled before it ran, and not taken off the queue yet.
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
    // One that moves while the lists are read is in two of them.
    const ids = new Set((await Promise.all(lists.map((list) => idsUnderWay(queue, list)))).flat());
    yield (await underWay(queue, [...ids], options))
      // What an operator's tool has left without a time has no place in the order, and is no task (see `readTask`).
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

/** Those of the owner that can have the status, and when they were made. */
async function underWay(
  queue: TaskQueue,
  ids: readonly string[],
  { owner, status }: Pick<ListTasksOptions, 'owner' | 'status'>,
): Promise<readonly TaskTime[]> {
  // Whether it is cancelled may change, and few are.
  if (status === 'cancelled') return select(queue, ids, { owner, status });
  const origins = await originsOf(queue, ids);
  return owner === undefined ? origins : origins.filter((origin) => origin.owner === owner);
}

interface TaskTime {
  readonly id: string;
  /** Ms. */
  readonly time: number;
}

/** Those of the owner that can have the status, in the order given, and when they were made. */
async function select(
  queue: TaskQueue,
  ids: readonly string[],
  { owner = '', status = '' }: { readonly owner?: string | undefined; readonly status?: string | undefined },
): Promise<TaskTime[]> {
  const selected: TaskTime[] = [];
  for (let start = 0; start < ids.length; start += chunk) {
    const args = [queueKey(''), owner, status, ...ids.slice(start, start + chunk)];
    // The key is there to tell a Cluster in which slot the jobs are.
    selected.push(...inPairs(await selectScript.run(connectionOf(queue), [queueKey('meta')], args)));
  }
  return selected;
}

/** Those of one sorted set, whose scores are the times of their ends, in pieces. */
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
    // Tasks that end from now on do not shift what follows.
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

/** Merges sorted sources, piece by piece, into one order. */
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

/** null at the end. A piece of which nothing is wanted is empty. */
async function nextPiece(source: AsyncGenerator<readonly TaskPosition[]>): Promise<TaskPosition[] | null> {
  const { done, value } = await source.next();
  return done === true ? null : [...value];
}

/** Redis orders members of the same score by themselves: so are ids here. */
function compare(one: TaskPosition, other: TaskPosition): number {
  return other.time - one.time || (one.id < other.id ? 1 : -1);
}

function isBehind(position: TaskPosition, after: TaskPosition | undefined): boolean {
  return after === undefined || (position.id !== after.id && compare(after, position) < 0);
}
