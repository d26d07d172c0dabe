import * as z from 'zod';
import { parseFailure, TaskFailure } from './failure.ts';
import { PullResult, TaskProgress } from './pull-task.ts';
import type { TaskQueue } from './queue.ts';
import { isTaskId } from './task-id.ts';
import { readTask, type TaskRecord } from './task-record.ts';

export const TaskStatus = z.enum(['queued', 'running', 'completed', 'failed', 'cancelled']);
export type TaskStatus = z.output<typeof TaskStatus>;

const timestamp = z.iso.datetime();

/** A task as the API shows it. Times are ISO 8601; null until they are reached. */
export const TaskView = z.object({
  id: z.string(),
  type: z.enum(['pull', 'import']),
  status: TaskStatus,
  /** Name of the image. */
  name: z.string(),
  /** The reference as the user typed it; for an import without one, its name. */
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

/** A task and its owner. */
export interface OwnedTask {
  readonly owner: string;
  readonly view: TaskView;
}

/** The task with this id; null when there is none (any more: ended tasks are kept for a week). */
export async function findTask(queue: TaskQueue, id: string): Promise<OwnedTask | null> {
  if (!isTaskId(id)) return null;
  const record = await readTask(queue, id);
  return record === null ? null : { owner: record.data.owner, view: taskView(record) };
}

/** A task as the API shows it. */
function taskView(record: TaskRecord): TaskView {
  const { id, data, progress, createdAt, startedAt, endedAt } = record;
  const outcome = outcomeOf(record);
  const steps = outcome.result?.steps ?? progress?.steps;
  return {
    id,
    type: data.type ?? 'pull',
    ...outcome,
    name: data.name,
    ref: data.requested,
    // The last progress update of a completed task may not have arrived yet; its result has every line.
    progress: outcome.result === null ? (progress?.line ?? null) : (steps?.at(-1)?.line ?? null),
    detail: progress,
    created_at: isoTime(createdAt),
    started_at: startedAt === null ? null : isoTime(startedAt),
    completed_at: endedAt === null ? null : isoTime(endedAt),
  };
}

type Outcome = Pick<TaskView, 'status' | 'result' | 'error'>;

function outcomeOf({ data, result, failedReason, deaths, endedAt, active }: TaskRecord): Outcome {
  if (endedAt !== null) {
    // A completed job keeps the failure reason of an earlier attempt, so only the result is conclusive.
    if (result !== null) return { status: 'completed', result, error: null };
    const error = parseFailure(failedReason, deaths);
    return { status: error.code === 'cancelled' ? 'cancelled' : 'failed', result: null, error };
  }
  if (active) return { status: 'running', result: null, error: null };
  if (data.cancelRequested === true) {
    return { status: 'cancelled', result: null, error: { code: 'cancelled', message: 'cancelled before it ran' } };
  }
  return { status: 'queued', result: null, error: null };
}

function isoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
