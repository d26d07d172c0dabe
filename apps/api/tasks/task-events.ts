import { isEnded, type OwnedTask, type TaskView } from '@bhatti/tasks';
import { problemOf, toApiError } from '../request/errors.ts';
import { logFailure } from '../request/failure-log.ts';
import type { Call } from '../request/route.ts';
import type { TaskService } from './task-service.ts';

/** An event stream on which nothing happens gets a comment this often, so that proxies do not close it. */
export const heartbeatMilliseconds = 15_000;

/**
 * A task as server-sent events (HTML standard, 9.2): its state now and after each change. The last event is its end, or a
 * `problem` that says why no more will come. A client that reconnects gets the current state first, so event ids are not needed.
 *
 * @param show called before each event: what the caller may see of the task; throws once that is nothing
 */
export async function* taskEvents(
  tasks: Pick<TaskService, 'wait'>,
  first: TaskView,
  show: (task: OwnedTask | null) => Promise<TaskView>,
  { signal, log, requestId }: Pick<Call, 'signal' | 'log' | 'requestId'>,
): AsyncGenerator<string> {
  let sent = JSON.stringify(first);
  let ended = isEnded(first.status);
  yield eventOf('task', sent);
  const isNews = (task: OwnedTask | null) => task === null || JSON.stringify(task.view) !== sent;
  while (!ended) {
    const task = await tasks.wait(first.id, isNews, { milliseconds: heartbeatMilliseconds, signal });
    if (signal.aborted) return;
    let view: TaskView;
    try {
      view = await show(task);
    } catch (thrown) {
      const error = toApiError(thrown);
      logFailure(log, error, thrown);
      yield eventOf('problem', JSON.stringify(problemOf(error, requestId)));
      return;
    }
    const state = JSON.stringify(view);
    yield state === sent ? ': nothing new\n\n' : eventOf('task', state);
    sent = state;
    ended = isEnded(view.status);
  }
}

function eventOf(type: 'task' | 'problem', data: string): string {
  return `event: ${type}\ndata: ${data}\n\n`;
}
