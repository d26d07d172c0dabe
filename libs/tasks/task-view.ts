import { z } from 'zod';
import { parseFailure, TaskFailure } from './failure.ts';
import { PullResult, TaskJobData, TaskProgress } from './pull-task.ts';
import type { TaskJob, TaskQueue } from './queue.ts';
import { isTaskId } from './task-id.ts';

export const TaskStatus = z.enum(['queued', 'running', 'completed', 'failed', 'cancelled']);
export type TaskStatus = z.output<typeof TaskStatus>;

const timestamp = z.iso.datetime();

/** A task as the API shows it. Times are ISO 8601, null while not reached. */
export const TaskView = z.object({
  id: z.string(),
  type: z.enum(['pull', 'import']),
  status: TaskStatus,
  /** Of the image. */
  name: z.string(),
  /** The reference as the user typed it; of an import without one, its name. */
  ref: z.string(),
  /** The latest line of progress. */
  progress: z.string().nullable(),
  detail: TaskProgress.nullable(),
  result: PullResult.nullable(),
  error: TaskFailure.nullable(),
  created_at: timestamp,
  started_at: timestamp.nullable(),
  completed_at: timestamp.nullable(),
});
export type TaskView = z.output<typeof TaskView>;

/** Whether a task with this status will not change any more. */
export function isEnded(status: TaskStatus): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}

/** A task and whose it is. */
export interface OwnedTask {
  readonly owner: string;
  readonly view: TaskView;
}

/** The task with this id, or null when there is none (or none any more: ended tasks are kept a week). */
export async function findTask(queue: TaskQueue, id: string): Promise<OwnedTask | null> {
  if (!isTaskId(id)) return null;
  const job = await queue.getJob(id);
  return job === undefined ? null : { owner: job.data.owner, view: await taskView(job) };
}

/** The view of a job as it was when it was read from Redis. */
export async function taskView(job: TaskJob): Promise<TaskView> {
  const data = TaskJobData.parse(job.data);
  const detail = TaskProgress.safeParse(job.progress).data ?? null;
  const outcome = await outcomeOf(job, data);
  const steps = outcome.result?.steps ?? detail?.steps;
  return {
    id: job.id ?? '',
    type: data.type ?? 'pull',
    ...outcome,
    name: data.name,
    ref: data.requested,
    // The last update of a completed task may still be on its way; its result has every line.
    progress: outcome.result === null ? (detail?.line ?? null) : (steps?.at(-1)?.line ?? null),
    detail,
    created_at: isoTime(job.timestamp),
    started_at: job.processedOn === undefined ? null : isoTime(job.processedOn),
    completed_at: job.finishedOn === undefined ? null : isoTime(job.finishedOn),
  };
}

type Outcome = Pick<TaskView, 'status' | 'result' | 'error'>;

async function outcomeOf(job: TaskJob, data: TaskJobData): Promise<Outcome> {
  if (job.finishedOn !== undefined) {
    const result = PullResult.safeParse(job.returnvalue).data;
    // The reason of an earlier attempt stays in a job that then completes: only the result tells.
    if (result !== undefined) return { status: 'completed', result, error: null };
    const error = parseFailure(job.failedReason, job.stalledCounter);
    return { status: error.code === 'cancelled' ? 'cancelled' : 'failed', result: null, error };
  }
  const state = await job.getState();
  const waits = state === 'waiting' || state === 'delayed' || state === 'prioritized' || state === 'waiting-children';
  if (!waits) {
    // Also when it ended after it was read: a view shows one moment, never the end of a task without its outcome.
    return { status: 'running', result: null, error: null };
  }
  if (data.cancelRequested === true) {
    return { status: 'cancelled', result: null, error: { code: 'cancelled', message: 'cancelled before it ran' } };
  }
  return { status: 'queued', result: null, error: null };
}

function isoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
