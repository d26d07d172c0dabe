/**
 * The local stack: Redis (unless REDIS_URL names one), the API and workers as children of this process, which starts
 * them again when they die and stops them in order. One stack a data directory.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ApiClient } from '../api-client.ts';
import { CliError } from '../cli-error.ts';
import { checkSocketPaths, type LocalPaths, localPaths } from '../local-paths.ts';
import { makeDirectories, reasonOfFailure, requireRoom } from './data-directory.ts';
import { acquirePidLock, LOCK_REFRESH } from './pid-lock.ts';
import { identifyProcess, processState, signalProcess } from './process-identity.ts';
import { findRedisServer, redisAnswers, stopLeftoverRedis, writeRedisConfiguration } from './redis-server.ts';
import { START_ATTEMPTS } from './restart-policy.ts';
import { programDirectory } from './server-program.ts';
import { readStackState, type StackState, writeStackState } from './stack-state.ts';
import { type ChildSpecification, type SupervisedChild, superviseChild } from './supervised-child.ts';

export interface StackOptions {
  readonly dataDirectory: string;
  readonly workers: number;
  /** Run only this part, against the Redis of REDIS_URL. */
  readonly role?: 'api' | 'worker';
  /** `host:port` of the API; undefined leaves it to BHATTI_LISTEN and the default. */
  readonly listen?: string;
  readonly env: NodeJS.ProcessEnv;
  /** Where api.js and worker.js are. */
  readonly programDirectory?: string;
  /** One line of log. */
  log(line: string): void;
  /** Called once, when every part answers. */
  onHealthy?(): void;
}

/** Together under the 10 s in which a stack has stopped. */
const WORKER_STOP_TIMEOUT = 6000;
const API_STOP_TIMEOUT = 2000;
const REDIS_STOP_TIMEOUT = 1500;
const LEFTOVER_STOP_TIMEOUT = 3000;
/** Where the API listens unless it is told otherwise. */
const API_DEFAULT_LISTEN = '127.0.0.1:8080';
const PROBE_TIMEOUT = 1000;
const PROBE_PAUSE = 20;
/** Between two looks at the lock. A command that starts the next stack meanwhile has the port within its few attempts. */
const LOCK_LOOK = 1000;

/** Runs the stack until SIGTERM, SIGINT or SIGHUP. Rejects with CliError when it cannot be started. */
export async function runStack(options: StackOptions): Promise<void> {
  const paths = localPaths(options.dataDirectory);
  const externalRedis = options.env.REDIS_URL || undefined;
  if (options.role !== undefined && externalRedis === undefined) {
    throw new CliError('invalid_request', `--role ${options.role} needs REDIS_URL, the Redis that all parts share`);
  }
  checkSocketPaths(paths);
  await makeDirectories(paths);
  if (options.role !== undefined) {
    await runParts(options, paths, partsOf(options, paths, externalRedis ?? ''));
    return;
  }
  const acquired = await acquirePidLock(paths.lockFile).catch(async (error: unknown) => {
    throw await reasonOfFailure(paths, error);
  });
  if ('holder' in acquired) throw alreadyRunning(acquired.holder.pid, acquired.holder.host, paths);
  const refresh = setInterval(() => acquired.lock.refresh().catch(() => undefined), LOCK_REFRESH);
  const lost = new AbortController();
  const look = async () => {
    // What cannot be looked at is not lost.
    if (!(await acquired.lock.isHeld().catch(() => true))) lost.abort();
  };
  const looks = setInterval(look, LOCK_LOOK);
  try {
    await stopLeftovers(paths, options.log);
    await requireRoom(paths);
    const redis = externalRedis === undefined ? await redisSpecification(paths, options.env) : undefined;
    const parts = partsOf(options, paths, externalRedis ?? paths.redisSocket);
    await runParts(options, paths, redis ? [redis, ...parts] : parts, lost.signal);
  } finally {
    clearInterval(refresh);
    clearInterval(looks);
    await rm(paths.stateFile, { force: true });
    await acquired.lock.release();
  }
}

/**
 * Starts the children in order, the embedded Redis (which the rest needs) first, and stops them in reverse.
 * @param lost of a stack that has the data directory for itself: aborted when that is not so any more
 */
async function runParts(
  options: StackOptions,
  paths: LocalPaths,
  specifications: readonly ChildSpecification[],
  lost?: AbortSignal,
): Promise<void> {
  const children: SupervisedChild[] = [];
  const startedAt = new Date().toISOString();
  let healthy = false;
  let failure: CliError | undefined;
  const stopped = new AbortController();
  const changed = new EventTarget();

  let writing = Promise.resolve();
  const onChange = () => {
    changed.dispatchEvent(new Event('change'));
    if (lost === undefined) return;
    const state = stateOf(children, startedAt, healthy, specifications);
    writing = writing
      .then(() => writeStackState(paths.stateFile, state))
      .catch((error: unknown) => {
        options.log(`cannot write ${paths.stateFile}: ${String(error)}`);
      });
  };
  const start = (specification: ChildSpecification) => {
    const child = superviseChild(specification, {
      onChange,
      onDeath: ({ outcome, deaths, pause }) => {
        if (!healthy && deaths >= START_ATTEMPTS) {
          failure ??= new CliError('start_failed', `${specification.name} does not start (${outcome})`, {
            hint: 'What it said stands above.',
          });
          stopped.abort();
          return;
        }
        options.log(`${specification.name} ended (${outcome}), starting it again in ${pause} ms`);
      },
    });
    children.push(child);
    onChange();
    return child;
  };

  const endAtOnce = () => {
    for (const child of children) child.kill();
    process.exit(1);
  };
  const removeSignalHandlers = stopOnSignal(stopped, endAtOnce);
  // Killed: on their way out they would remove the sockets of these names, which may be those of the next stack.
  const onLost = () => {
    options.log('the data directory was removed, or is another server’s now: ending');
    endAtOnce();
  };
  lost?.addEventListener('abort', onLost, { once: true });
  try {
    const [first, ...rest] = specifications;
    if (first !== undefined) {
      const child = start(first);
      // The API and the workers would only wait for Redis, and say so in the log.
      if (first.name === 'redis') await untilReady([child], changed, stopped.signal);
    }
    if (!stopped.signal.aborted) for (const specification of rest) start(specification);
    await untilReady(children, changed, stopped.signal);
    if (!stopped.signal.aborted) {
      healthy = true;
      onChange();
      await writing;
      options.onHealthy?.();
      await new Promise<void>((resolve) => stopped.signal.addEventListener('abort', () => resolve(), { once: true }));
    }
  } finally {
    if (failure === undefined) options.log('stopping');
    await stopInOrder(children);
    removeSignalHandlers();
    lost?.removeEventListener('abort', onLost);
    await writing;
  }
  if (failure !== undefined) throw await reasonOfFailure(paths, failure);
}

/** Workers first, so that they can give their jobs back; then the API; Redis, which both need, last. */
async function stopInOrder(children: readonly SupervisedChild[]): Promise<void> {
  const groups = [
    children.filter((child) => child.name.startsWith('worker')),
    children.filter((child) => child.name === 'api'),
    children.filter((child) => child.name === 'redis'),
  ];
  for (const group of groups) await Promise.all(group.map((child) => child.stop()));
}

/** The second signal means: now. */
function stopOnSignal(stopped: AbortController, atOnce: () => void): () => void {
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
  const onSignal = () => {
    if (stopped.signal.aborted) atOnce();
    else stopped.abort();
  };
  for (const signal of signals) process.on(signal, onSignal);
  return () => {
    for (const signal of signals) process.off(signal, onSignal);
  };
}

/** Resolves when all children are ready, or when `signal` is aborted. */
function untilReady(children: readonly SupervisedChild[], changed: EventTarget, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (!signal.aborted && !children.every((child) => child.ready)) return;
      changed.removeEventListener('change', check);
      signal.removeEventListener('abort', check);
      resolve();
    };
    changed.addEventListener('change', check);
    signal.addEventListener('abort', check);
    check();
  });
}

/** Resolves when the API answers and has its Redis; rejects when `signal` is aborted. */
async function apiAnswers(paths: LocalPaths, signal: AbortSignal): Promise<void> {
  const client = new ApiClient({ kind: 'socket', path: paths.apiSocket });
  try {
    for (;;) {
      const health = await client.health(PROBE_TIMEOUT).catch(() => undefined);
      if (health?.redis === 'ok') return;
      await delay(PROBE_PAUSE, undefined, { signal });
    }
  } finally {
    client.close();
  }
}

function stateOf(
  children: readonly SupervisedChild[],
  startedAt: string,
  healthy: boolean,
  specifications: readonly ChildSpecification[],
): StackState {
  const supervisor = identifyProcess(process.pid);
  if (supervisor === undefined) throw new Error('this process cannot be identified; is /proc mounted?');
  return {
    supervisor,
    healthy,
    startedAt,
    redis: specifications[0]?.name === 'redis' ? 'embedded' : 'external',
    children: children.flatMap((child) => {
      const identity = child.pid === undefined ? undefined : identifyProcess(child.pid);
      return identity === undefined ? [] : [{ name: child.name, ready: child.ready, process: identity }];
    }),
  };
}

function partsOf(options: StackOptions, paths: LocalPaths, redisUrl: string): ChildSpecification[] {
  const directory = options.programDirectory ?? programDirectory;
  const env = {
    ...options.env,
    BHATTI_DATA_DIR: paths.dataDirectory,
    REDIS_URL: redisUrl,
    ...(options.listen !== undefined && { BHATTI_LISTEN: options.listen }),
  };
  // Workers are told where the API of the same stack listens: what an open one may not be made to ask, they must not ask for it. One
  // that is not told takes it to be open (docs/registries.md).
  const isStated = (env.BHATTI_LISTEN ?? '').trim() !== '';
  const workerEnv = options.role === 'worker' || isStated ? env : { ...env, BHATTI_LISTEN: API_DEFAULT_LISTEN };
  const api: ChildSpecification = {
    name: 'api',
    command: process.execPath,
    args: [join(directory, 'api.js')],
    env,
    ipc: true,
    readiness: (signal) => apiAnswers(paths, signal),
    stopTimeout: API_STOP_TIMEOUT,
  };
  const workers = Array.from({ length: options.workers }, (_, index) => ({
    name: `worker ${index + 1}`,
    command: process.execPath,
    args: [join(directory, 'worker.js')],
    env: workerEnv,
    ipc: true,
    readiness: 'message' as const,
    stopTimeout: WORKER_STOP_TIMEOUT,
  }));
  if (options.role === 'api') return [api];
  return options.role === 'worker' ? workers : [api, ...workers];
}

async function redisSpecification(paths: LocalPaths, env: NodeJS.ProcessEnv): Promise<ChildSpecification> {
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

/** Ends what a supervisor left behind when it was killed: its children as it noted them, and Redis by its socket. */
async function stopLeftovers(paths: LocalPaths, log: (line: string) => void): Promise<void> {
  const state = await readStackState(paths.stateFile);
  const left = state?.children.filter((child) => processState(child.process) === 'alive') ?? [];
  for (const { name, process } of left) {
    log(`stopping ${name} (pid ${process.pid}), left behind by a stack that was killed`);
    if (name !== 'redis') signalProcess(process, 'SIGTERM');
  }
  await stopLeftoverRedis(paths.redisSocket);
  const until = performance.now() + LEFTOVER_STOP_TIMEOUT;
  while (left.some(({ process }) => processState(process) === 'alive')) {
    if (performance.now() > until) for (const { process } of left) signalProcess(process, 'SIGKILL');
    await delay(20);
  }
}

function alreadyRunning(pid: number, host: string, paths: LocalPaths): CliError {
  return new CliError('already_running', `a server for ${paths.dataDirectory} runs already (pid ${pid} on ${host})`, {
    hint: 'See it with "bhatti serve status", stop it with "bhatti serve stop".',
  });
}
