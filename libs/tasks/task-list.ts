import type { TaskJob, TaskQueue } from './queue.ts';
import { type OwnedTask, taskView } from './task-view.ts';

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
  /** Tasks for which this is false are passed over. */
  readonly wanted: (task: OwnedTask) => boolean;
}

export interface TaskPage {
  readonly tasks: readonly OwnedTask[];
  /** The last task of this page, null when no other follows. */
  readonly next: TaskPosition | null;
}

/** Ended jobs that are read at once. */
const chunk = 200;

/** A page of tasks. One that ends between two pages may be missed by the second, or seen again. */
export async function listTasks(queue: TaskQueue, { after, limit, wanted }: ListTasksOptions): Promise<TaskPage> {
  const tasks: OwnedTask[] = [];
  let last: TaskPosition | null = null;
  for await (const job of jobsInOrder(queue, after)) {
    const task = { owner: job.data.owner, view: await taskView(job) };
    if (!wanted(task)) continue;
    if (tasks.length === limit) return { tasks, next: last };
    tasks.push(task);
    last = positionOf(job);
  }
  return { tasks, next: null };
}

async function* jobsInOrder(queue: TaskQueue, after: TaskPosition | undefined): AsyncGenerator<TaskJob> {
  if (after?.ended !== true) {
    const jobs = await queue.getJobs(['active', 'waiting', 'delayed', 'prioritized'], 0, -1);
    // One that moves while the lists are read is in two of them.
    const underWay = new Map(jobs.filter((job) => job !== undefined).map((job) => [job.id, job]));
    for (const job of [...underWay.values()].sort(latestFirst)) if (isBehind(job, after)) yield job;
  }
  yield* endedInOrder(queue, after?.ended === true ? after : undefined);
}

/** Merges completed and failed, which Redis keeps by the time of their end. */
async function* endedInOrder(queue: TaskQueue, after: TaskPosition | undefined): AsyncGenerator<TaskJob> {
  const sources = (['completed', 'failed'] as const).map((state) => endedOf(queue, state, after));
  const heads = await Promise.all(sources.map((source) => source.next()));
  for (;;) {
    const [first, second] = heads.map((head) => (head.done ? undefined : head.value));
    if (first === undefined && second === undefined) return;
    const chosen = second === undefined || (first !== undefined && latestFirst(first, second) < 0) ? 0 : 1;
    const job = chosen === 0 ? first : second;
    if (job !== undefined) yield job;
    const refilled = await sources[chosen]?.next();
    if (refilled !== undefined) heads[chosen] = refilled;
  }
}

async function* endedOf(
  queue: TaskQueue,
  state: 'completed' | 'failed',
  after: TaskPosition | undefined,
): AsyncGenerator<TaskJob> {
  for (let start = 0; ; start += chunk) {
    const jobs = await queue.getJobs([state], start, start + chunk - 1);
    if (jobs.length === 0) return;
    for (const job of jobs) if (job !== undefined && isBehind(job, after)) yield job;
  }
}

function positionOf(job: TaskJob): TaskPosition {
  return { ended: job.finishedOn !== undefined, time: job.finishedOn ?? job.timestamp, id: job.id ?? '' };
}

/** Redis orders members of the same score by themselves: so are ids here. */
function compare(one: Pick<TaskPosition, 'time' | 'id'>, other: Pick<TaskPosition, 'time' | 'id'>): number {
  return other.time - one.time || (one.id < other.id ? 1 : -1);
}

function latestFirst(one: TaskJob, other: TaskJob): number {
  return compare(positionOf(one), positionOf(other));
}

function isBehind(job: TaskJob, after: TaskPosition | undefined): boolean {
  if (after === undefined) return true;
  return job.id !== after.id && compare(after, positionOf(job)) < 0;
}
