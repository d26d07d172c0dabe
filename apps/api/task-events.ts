import { isEnded, type OwnedTask, type TaskView } from '@bhatti/tasks';
import type { TaskService } from './task-service.ts';

/** A comment goes out this often while nothing changes, so that proxies between do not take the silence for an end. */
const heartbeatMilliseconds = 15_000;

/**
 * A task as server-sent events (HTML standard, 9.2): its state now, and after each change; the last one tells its end.
 * Who connects again begins with the present state, so that nothing has to be remembered.
 */
export async function* taskEvents(
  tasks: Pick<TaskService, 'wait'>,
  first: TaskView,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let sent = JSON.stringify(first);
  let ended = isEnded(first.status);
  yield eventOf(sent);
  const isNews = (task: OwnedTask | null) => task === null || JSON.stringify(task.view) !== sent;
  while (!ended) {
    const task = await tasks.wait(first.id, isNews, { milliseconds: heartbeatMilliseconds, signal });
    if (signal.aborted || task === null) return;
    const state = JSON.stringify(task.view);
    yield state === sent ? ': nothing new\n\n' : eventOf(state);
    sent = state;
    ended = isEnded(task.view.status);
  }
}

function eventOf(state: string): string {
  return `event: task\ndata: ${state}\n\n`;
}
