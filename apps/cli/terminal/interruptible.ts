import type { Console } from './console.ts';
import type { TaskType } from './transcript.ts';

/**
 * Awaits a request that asks for a task. Ctrl+C before the answer ends this program with 130 and says what is known of the task.
 * @param isSent whether all of the request has left, so that the server may have taken it
 */
export async function interruptible<T>(
  request: Promise<T>,
  console: Console,
  type: TaskType,
  isSent: () => boolean = () => true,
): Promise<T> {
  const onInterrupt = () => {
    console.live([]);
    const outcome = isSent()
      ? `The ${type} may have been queued.\nCheck: bhatti task list`
      : 'The archive was not sent whole: nothing is imported.';
    console.err(`${console.interactive ? '\n' : ''}Interrupted. ${outcome}\n`);
    process.exit(130);
  };
  process.once('SIGINT', onInterrupt);
  try {
    return await request;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}
