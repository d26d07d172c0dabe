import { rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { requireE2fsprogs } from '@bhatti/rootfs';
import { refusalOf } from '@bhatti/tasks';
import type { Readiness } from './api-schema.ts';
import type { ReadinessLog } from './readiness-log.ts';
import { errorCode } from './request/error-code.ts';
import { ApiError } from './request/errors.ts';
import type { Services } from './services.ts';
import { type ConnectedWorker, readWorkers } from './tasks/queue-state.ts';
import { refusalOfWrites } from './tasks/redis-writes.ts';

type Check = Readiness['checks']['redis'];

/** Ms that one check may take; a shared folder that hangs would hold the answer for ever. */
const checkMilliseconds = 2_000;

/**
 * Checks whether a pull requested now would be carried out. Reasons name no path, host or task: whoever reaches the
 * server may ask.
 */
export async function checkReadiness(
  { store, tasks }: Pick<Services, 'store' | 'tasks'>,
  log: ReadinessLog,
): Promise<Readiness> {
  const [queue, data_dir] = await Promise.all([
    within('Redis', log, () =>
      tasks.withQueue(async ({ queue, redis }) => {
        const refusal = await refusalOfWrites(redis);
        if (refusal !== null) return failed(`Redis takes no tasks (${refusal})`);
        return { workers: await readWorkers(queue), isPaused: await queue.isPaused() };
      }),
    ),
    within('the data directory', log, () => checkWritable(store.paths.runDirectory)),
  ]);
  const known = 'workers' in queue ? queue : null;
  const workers = known?.workers ?? null;
  const checks = {
    redis: 'workers' in queue ? { ok: true } : queue,
    data_dir,
    worker: known?.isPaused ? failed('the queue is paused: tasks wait until it is resumed') : checkWorkers(workers),
    e2fsprogs: await within('mke2fs', log, () => checkTools(workers ?? [])),
  };
  return { status: Object.values(checks).every(({ ok }) => ok) ? 'ready' : 'not_ready', checks };
}

/** By writing: permissions reveal neither a full disk nor a file system that has become read-only. */
async function checkWritable(directory: string): Promise<Check> {
  const path = join(directory, 'write-check');
  try {
    await writeFile(path, 'x', { mode: 0o600 });
  } catch (error) {
    // A full disk takes the name, and not the byte.
    await rm(path, { force: true }).catch(() => undefined);
    throw error;
  }
  await rm(path, { force: true });
  return { ok: true };
}

function checkWorkers(workers: readonly ConnectedWorker[] | null): Check {
  if (workers === null) return failed('unknown while Redis is away');
  return workers.length > 0 ? { ok: true } : failed('no worker is connected: tasks wait until one is started');
}

/** It is the workers that need the tools, and only this host can be checked from here. */
async function checkTools(workers: readonly ConnectedWorker[]): Promise<Check> {
  if (!workers.some(({ name }) => name.startsWith(`${hostname()}:`))) {
    return { ok: true, reason: 'not looked at: no worker runs on this host' };
  }
  await requireE2fsprogs();
  return { ok: true };
}

async function within<Result extends object>(
  what: string,
  log: ReadinessLog,
  check: () => Promise<Result>,
): Promise<Result | Check> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Check>((resolve) => {
    timer = setTimeout(resolve, checkMilliseconds, failed(`${what} did not answer within ${checkMilliseconds} ms`));
  });
  try {
    return await Promise.race([check(), late]);
  } catch (error) {
    return failed(reasonOf(what, error, log));
  } finally {
    clearTimeout(timer);
  }
}

function failed(reason: string): Check {
  return { ok: false, reason };
}

const missingTools: Readonly<Record<string, string>> = {
  mke2fs_missing: 'mke2fs was not found; install e2fsprogs',
  e2fsck_missing: 'e2fsck was not found; install e2fsprogs',
};

function reasonOf(what: string, error: unknown, log: ReadinessLog): string {
  const code = errorCode(error) ?? '';
  const missing = missingTools[code];
  if (missing !== undefined) return missing;
  // System error codes such as EROFS give no secret away.
  if (/^[A-Z0-9_]+$/.test(code)) return `${what} cannot be used (${code})`;
  const refusal = error instanceof ApiError ? refusalOf(error.cause) : undefined;
  // The loss of Redis has been logged already.
  if (code !== 'redis_unavailable' || refusal !== undefined) log.failed(what, error);
  if (refusal !== undefined) return `${what} refuses to work (${refusal.word}; see the log)`;
  return `${what} cannot be used (see the log)`;
}
