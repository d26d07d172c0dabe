import { isEnded, type OwnedTask, type TaskPosition, TaskStatus, TaskView } from '@bhatti/tasks';
import * as z from 'zod';
import type { Caller } from '../access/authentication.ts';
import { TaskList } from '../api-schema.ts';
import { ApiError } from '../request/errors.ts';
import { decodeCursor, encodeCursor, pageQuery } from '../request/pagination.ts';
import { defineRoute, noBody, noQuery, type Route } from '../request/route.ts';
import type { Services } from '../services.ts';
import { taskEvents } from '../tasks/task-events.ts';

const longestWaitSeconds = 60;

const taskQuery = z.strictObject({
  wait: z
    .string()
    .regex(/^\d{1,4}(\.\d{1,3})?$/, { error: `must be seconds, from 0 to ${longestWaitSeconds}` })
    .transform(Number)
    .refine((seconds) => seconds <= longestWaitSeconds, { error: `must be at most ${longestWaitSeconds} seconds` })
    .default(0),
  seen: z.string().max(1024, { error: 'is longer than any progress line' }).optional(),
});

const defaultPage = 100;

const listQuery = z.strictObject({
  ...pageQuery,
  status: z.enum(TaskStatus.options, { error: `must be one of ${TaskStatus.options.join(', ')}` }).optional(),
});

const positionForm = /^([eu]) (\d{1,15}) (tsk_[a-z2-7]{12})$/;

function toPosition(cursor: string): TaskPosition {
  const [, group, time, id = ''] = decodeCursor(cursor, positionForm);
  return { ended: group === 'e', time: Number(time), id };
}

type TaskServices = Pick<Services, 'tasks'>;

/** Watching and cancelling tasks. */
export function taskRoutes(services: TaskServices): Route[] {
  return [listTasks(services), showTask(services), streamTask(services), cancelTask(services)];
}

function listTasks({ tasks }: TaskServices): Route {
  return defineRoute({
    method: 'GET',
    path: '/tasks',
    summary:
      'The tasks of the caller, for an admin of all owners: those under way, then ended ones, latest first. 100 a page, or ?limit=.',
    query: listQuery,
    body: noBody,
    answers: { 200: { description: 'A page of tasks.', schema: TaskList } },
    handle: async ({ query, caller }) => {
      const after = query.cursor === undefined ? undefined : toPosition(query.cursor);
      const { tasks: found, next } = await tasks.list({
        after,
        limit: query.limit ?? defaultPage,
        owner: caller.admin ? undefined : caller.owner,
        status: query.status,
      });
      const cursor = next === null ? null : encodeCursor(`${next.ended ? 'e' : 'u'} ${next.time} ${next.id}`);
      return { status: 200, body: { tasks: found.map(({ view }) => view), next: cursor } };
    },
  });
}

function showTask({ tasks }: TaskServices): Route {
  return defineRoute({
    method: 'GET',
    path: '/tasks/:id',
    summary:
      'One task. ?wait=SECONDS (up to 60) holds the answer until it ends, its status or progress line changes (from ?seen=LINE, if given), or the time is up.',
    query: taskQuery,
    body: noBody,
    answers: { 200: { description: 'The task.', schema: TaskView } },
    handle: async ({ params: { id = '' }, query, caller, callerNow, signal }) => {
      if (query.wait === 0) return { status: 200, body: visible(await tasks.find(id), id, caller) };
      const record = await tasks.wait(id, newsFor(caller, query.seen), { milliseconds: query.wait * 1000, signal });
      return { status: 200, body: visible(record, id, await callerNow()) };
    },
  });
}

function streamTask({ tasks }: TaskServices): Route {
  return defineRoute({
    method: 'GET',
    path: '/tasks/:id/events',
    summary:
      'One task as server-sent events: an event "task" with the task now and after each change; closes after its end, or after an event "problem" if the caller may no longer see it.',
    query: noQuery,
    body: noBody,
    answers: { 200: { description: 'Events.', contentType: 'text/event-stream' } },
    handle: async ({ params: { id = '' }, caller, callerNow, signal, log, requestId }) => {
      const first = visible(await tasks.find(id), id, caller);
      const show = async (task: OwnedTask | null) => visible(task, id, await callerNow());
      return {
        status: 200,
        contentType: 'text/event-stream; charset=utf-8',
        headers: { 'X-Accel-Buffering': 'no' },
        stream: taskEvents(tasks, first, show, { signal, log, requestId }),
      };
    },
  });
}

function cancelTask({ tasks }: TaskServices): Route {
  return defineRoute({
    method: 'DELETE',
    path: '/tasks/:id',
    summary: 'Cancel a task: 202 with the task as it is now, 409 if it has already ended.',
    query: noQuery,
    body: noBody,
    answers: { 202: { description: 'The task; it has been told to stop.', schema: TaskView } },
    handle: async ({ params: { id = '' }, caller, log }) => {
      const { status } = visible(await tasks.find(id), id, caller);
      if (isEnded(status)) {
        const how = status === 'cancelled' ? 'is cancelled already' : `has already ${status}`;
        throw new ApiError(409, 'task_ended', `task ${id} ${how}`);
      }
      const view = await tasks.cancel(id);
      log.info({ task_id: id, owner: caller.owner }, 'task cancelled');
      return { status: 202, body: view };
    },
  });
}

/**
 * Decides which state answers a long poll. The first state does if the client has not seen its progress line; otherwise later
 * states are compared with it.
 */
export function newsFor(caller: Caller, seen: string | undefined): (record: OwnedTask | null) => boolean {
  let first: TaskView | undefined;
  return (record) => {
    if (record === null || !mayRead(record, caller) || isEnded(record.view.status)) return true;
    const { view } = record;
    if (first === undefined) {
      first = view;
      return seen !== undefined && seen !== (view.progress ?? '');
    }
    return view.status !== first.status || view.progress !== first.progress;
  };
}

/** Throws ApiError 404 for a task that is missing, or another owner's: the client cannot tell which. */
function visible(record: OwnedTask | null, id: string, caller: Caller): TaskView {
  if (record === null || !mayRead(record, caller)) {
    const asked = JSON.stringify(id.slice(0, 64));
    throw new ApiError(
      404,
      'not_found',
      `no task ${asked}; ended ones are forgotten after a week, and all when Redis loses its data`,
    );
  }
  return record.view;
}

function mayRead(record: OwnedTask, caller: Caller): boolean {
  return caller.admin || record.owner === caller.owner;
}
