import { isEnded, type OwnedTask, type TaskView } from '@bhatti/tasks';
import { problemOf, toApiError } from './errors.ts';
import { logFailure } from './failure-log.ts';
import type { Call } from './route.ts';
import type { TaskService } from './task-service.ts';

/** A comment goes out this often while nothing changes, so that proxies between do not take the silence for an end. */
const heartbeatMilliseconds = 15_000;

/**
 * A task as server-sent events (HTML standard, 9.2): its state now, and after each change; the last one tells its end, or
 * (`problem`) why no other will come. Who connects again begins with the present state, so that nothing has to be remembered.
 *
 * @param show asked before anything is sent: the task for the caller; throws where that may not see it any more
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
