import { setTimeout as sleep } from 'node:timers/promises';
import type { Caller } from '../access/authentication.ts';
import { heartbeatMilliseconds } from '../tasks/task-events.ts';
import type { TaskService } from '../tasks/task-service.ts';

/** The least time between two events: a running task changes five times a second. */
const pauseMilliseconds = 500;

/**
 * Server-sent events for a page of a visitor: `changed`, without saying what, after any task changed that the visitor
 * may see. The page then asks for what it shows. One stream a page, however many tasks it has.
 */
export async function* liveEvents(
  tasks: Pick<TaskService, 'onChange' | 'find'>,
  visitorNow: () => Promise<Caller>,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const changed = new Set<string | null>();
  let wake = () => {};
  const ignore = tasks.onChange((id) => {
    changed.add(id);
    wake();
  });
  signal.addEventListener('abort', () => wake(), { once: true });
  try {
    yield 'retry: 2000\n\n';
    while (!signal.aborted) {
      if (changed.size === 0) {
        const heartbeat = setTimeout(() => wake(), heartbeatMilliseconds);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        clearTimeout(heartbeat);
      }
      const ids = [...changed];
      changed.clear();
      if (signal.aborted) return;
      const visitor = await visitorNow();
      if (ids.length === 0) yield ': nothing new\n\n';
      else if (await seesAny(tasks, visitor, ids)) yield 'event: changed\ndata:\n\n';
      await sleep(pauseMilliseconds, undefined, { signal }).catch(() => {});
    }
  } finally {
    ignore();
  }
}

/** null stands for every task: Redis was away, and nobody knows what happened meanwhile. */
async function seesAny(
  tasks: Pick<TaskService, 'find'>,
  visitor: Caller,
  ids: readonly (string | null)[],
): Promise<boolean> {
  if (visitor.admin || ids.includes(null)) return true;
  for (const id of ids) {
    try {
      if (id !== null && (await tasks.find(id))?.owner === visitor.owner) return true;
    } catch {
      // Redis is away: the page shows that.
      return true;
    }
  }
  return false;
}
