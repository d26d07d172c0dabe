import { setTimeout as delay } from 'node:timers/promises';
import { CliError } from './cli-error.ts';
import type { ApiClient } from './server/api-client.ts';
import { AWAY_LIMIT, isTemporary, UnreachableError } from './server/api-error.ts';
import type { Task } from './server/api-schema.ts';

/** The documented poll, as a long poll: an answer comes sooner when there is news. Seconds. */
const POLL_WAIT = 2;
/** Ms between attempts while the API is away. */
const AWAY_PAUSE = 500;

/** How patient the follower is with a stream of events, ms. */
export interface EventPatience {
  /** The server sends the first event at once: if it is late, a proxy buffers the answer. */
  readonly firstEvent: number;
  /** The server sends something every 15 s. */
  readonly silence: number;
}

const usualPatience: EventPatience = { firstEvent: 3000, silence: 20_000 };

/**
 * Calls `show` with every state of the task until it has ended. Follows its events, or polls if those do not come through (an
 * older server, a proxy). Both begin with the current state, so the end is never missed. Survives an absence of the server;
 * rejects with CliError `server_unreachable` if it stays away, else as the client does.
 */
export async function followTask(
  client: ApiClient,
  id: string,
  show: (task: Task, ended: boolean) => void,
  patience = usualPatience,
): Promise<Task> {
  let byEvents = true;
  let seen: string | undefined;
  let awaySince: number | undefined;
  /** Returns whether the task has ended. */
  const see = (task: Task): boolean => {
    awaySince = undefined;
    seen = task.progress ?? '';
    const ended = task.status !== 'queued' && task.status !== 'running';
    show(task, ended);
    return ended;
  };
  for (;;) {
    try {
      if (byEvents) {
        const outcome = await followEvents(client, id, see, patience);
        if (typeof outcome === 'object') return outcome;
        byEvents = outcome === 'cut off';
        if (byEvents) await delay(AWAY_PAUSE);
      } else {
        const task = await client.task(id, seen === undefined ? undefined : { wait: POLL_WAIT, seen });
        if (see(task)) return task;
      }
    } catch (error) {
      if (!isTemporary(error)) throw error;
      awaySince ??= performance.now();
      if (performance.now() - awaySince > AWAY_LIMIT) throw lostContact(id, error);
      await delay(AWAY_PAUSE);
    }
  }
}

/** Resolves with the ended task, or with why the stream ended without it: only after `cut off` is another worth trying. */
async function followEvents(
  client: ApiClient,
  id: string,
  see: (task: Task) => boolean,
  { firstEvent, silence }: EventPatience,
): Promise<Task | 'cut off' | 'no use'> {
  let some = false;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), firstEvent);
  try {
    for await (const task of client.taskEvents(id, { signal: late.signal, silence })) {
      clearTimeout(timer);
      some = true;
      if (see(task)) return task;
    }
    return some ? 'cut off' : 'no use';
  } catch (error) {
    if (late.signal.aborted) return 'no use';
    // The server is away. Any other failure shows in the poll that follows, unless only events fail.
    if (error instanceof UnreachableError && error.systemCode !== 'ETIMEDOUT') throw error;
    return 'no use';
  } finally {
    clearTimeout(timer);
  }
}

function lostContact(id: string, cause: unknown): CliError {
  return new CliError(
    'server_unreachable',
    'the server has not answered for a minute; the task goes on when it is back',
    {
      cause,
      hint: `Check status: bhatti task show ${id}`,
    },
  );
}
