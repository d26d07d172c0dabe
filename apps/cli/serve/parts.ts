import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { LocalPaths } from '../local-paths.ts';
import { ApiClient } from '../server/api-client.ts';
import { findRedisServer, redisAnswers, writeRedisConfiguration } from './redis-server.ts';
import { programDirectory } from './server-program.ts';
import { readApiAddress } from './stack-state.ts';
import type { ChildSpecification } from './supervised-child.ts';

/** ms; together under the 10 s in which a stack has stopped. */
const WORKER_STOP_TIMEOUT = 6000;
const API_STOP_TIMEOUT = 2000;
const REDIS_STOP_TIMEOUT = 1500;
/** Where the API listens unless it is told otherwise. */
const API_DEFAULT_LISTEN = '127.0.0.1:8080';
const PROBE_TIMEOUT = 1000;
const PROBE_PAUSE = 20;

export interface PartsOptions {
  readonly workers: number;
  /** Only this part. */
  readonly role?: 'api' | 'worker';
  /** `host:port` of the API; undefined leaves it to BHATTI_LISTEN and the default. */
  readonly listen?: string;
  readonly env: NodeJS.ProcessEnv;
}

/** The API and the workers, as children to start, in order. `redisUrl`: the Redis that they share. */
export function serverParts(options: PartsOptions, paths: LocalPaths, redisUrl: string): ChildSpecification[] {
  const env = {
    ...options.env,
    BHATTI_DATA_DIR: paths.dataDirectory,
    REDIS_URL: redisUrl,
    ...(options.listen !== undefined && { BHATTI_LISTEN: options.listen }),
  };
  const node = { command: process.execPath, ipc: true };
  const api: ChildSpecification = {
    ...node,
    name: 'api',
    args: [join(programDirectory, 'api.js')],
    env,
    readiness: (signal, pid) => apiAnswers(paths, pid, signal),
    stopTimeout: API_STOP_TIMEOUT,
  };
  const workers = Array.from({ length: options.workers }, (_, index) => ({
    ...node,
    name: `worker ${index + 1}`,
    args: [join(programDirectory, 'worker.js')],
    env: options.role === 'worker' ? env : withApiAddress(env),
    readiness: 'message' as const,
    stopTimeout: WORKER_STOP_TIMEOUT,
  }));
  if (options.role === 'api') return [api];
  return options.role === 'worker' ? workers : [api, ...workers];
}

/**
 * Workers are told where the API of their stack listens: what an API open to everyone may not be made to ask of this
 * network, they do not ask for it. A worker that is not told takes the API to be open (docs/registries.md).
 */
function withApiAddress(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isStated = (env.BHATTI_LISTEN ?? '').trim() !== '';
  return isStated ? env : { ...env, BHATTI_LISTEN: API_DEFAULT_LISTEN };
}

/** The Redis that a stack brings with it. Writes its configuration. */
export async function embeddedRedis(paths: LocalPaths, env: NodeJS.ProcessEnv): Promise<ChildSpecification> {
  return {
    name: 'redis',
    command: findRedisServer(env),
    args: [await writeRedisConfiguration(paths)],
    env,
    ipc: false,
    readiness: (signal) => redisAnswers(paths.redisSocket, signal),
    stopTimeout: REDIS_STOP_TIMEOUT,
  };
}

/**
 * Resolves when the API answers and has its Redis; rejects when `signal` is aborted. What answers may be another API, because of
 * which this one does not start: whose the socket is stands in the record.
 */
async function apiAnswers(paths: LocalPaths, pid: number | undefined, signal: AbortSignal): Promise<void> {
  const client = new ApiClient({ kind: 'socket', path: paths.apiSocket });
  try {
    for (;;) {
      const health = await client.health(PROBE_TIMEOUT).catch(() => undefined);
      if (health?.redis === 'ok' && (await readApiAddress(paths.apiFile)).pid === pid) return;
      await delay(PROBE_PAUSE, undefined, { signal });
    }
  } finally {
    client.close();
  }
}
