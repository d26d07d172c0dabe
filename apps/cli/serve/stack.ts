/**
 * The local stack: Redis (unless REDIS_URL names one), the API and workers as children of this process, which starts
 * them again when they die and stops them in order. One stack a data directory.
 */
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { CliError } from '../cli-error.ts';
import { checkSocketPaths, type LocalPaths, localPaths } from '../local-paths.ts';
import { makeDirectories, reasonOfFailure, requireRoom } from './data-directory.ts';
import { keepLogSmall } from './log-file.ts';
import { embeddedRedis, type PartsOptions, serverParts } from './parts.ts';
import { acquirePidLock, LOCK_REFRESH, type PidLock } from './pid-lock.ts';
import { identifyProcess, processState, signalProcess } from './process-identity.ts';
import { stopLeftoverRedis } from './redis-server.ts';
import { RunningParts } from './running-parts.ts';
import { readStackState, type StackState, StackStateFile } from './stack-state.ts';
import type { ChildSpecification, SupervisedChild } from './supervised-child.ts';

export interface StackOptions extends PartsOptions {
  readonly dataDirectory: string;
  /** One line of log. */
  log(line: string): void;
}

/** ms. */
const LEFTOVER_STOP_TIMEOUT = 3000;
/** Between two looks at the lock, ms. A command that starts the next stack meanwhile has the port within its few attempts. */
const LOCK_LOOK = 1000;

/**
 * Runs the stack, or with `role` that part of one, until SIGTERM, SIGINT or SIGHUP. Rejects with CliError when it
 * cannot be started.
 */
export async function runStack(options: StackOptions): Promise<void> {
  const paths = localPaths(options.dataDirectory);
  const externalRedis = options.env.REDIS_URL || undefined;
  checkSocketPaths(paths);
  if (options.role === undefined) await runWholeStack(options, paths, externalRedis);
  else if (externalRedis !== undefined) await runRole(options, paths, externalRedis);
  else throw new CliError('invalid_request', `--role ${options.role} needs REDIS_URL, the Redis that all parts share`);
}

/** One part of a stack whose other parts run elsewhere: the data directory is shared, and nothing is written about it there. */
async function runRole(options: StackOptions, paths: LocalPaths, redisUrl: string): Promise<void> {
  await makeDirectories(paths);
  const parts = new RunningParts(serverParts(options, paths, redisUrl), {
    log: options.log,
    onChange: () => undefined,
    onHealthy: async () => options.log(healthyLine(paths)),
  });
  await withReason(paths, parts.run());
}

async function runWholeStack(
  options: StackOptions,
  paths: LocalPaths,
  externalRedis: string | undefined,
): Promise<void> {
  await makeDirectories(paths);
  const acquired = await withReason(paths, acquirePidLock(paths.lockFile));
  if ('holder' in acquired) throw alreadyRunning(acquired.holder.pid, acquired.holder.host, paths);
  const { lock } = acquired;
  const refresh = setInterval(() => lock.refresh().catch(() => undefined), LOCK_REFRESH);
  const over = new AbortController();
  void keepLogSmall(paths.logFile, over.signal);
  try {
    await stopLeftovers(paths, options.log);
    await requireRoom(paths);
    const redis = externalRedis === undefined ? [await embeddedRedis(paths, options.env)] : [];
    await runHolding(
      lock,
      [...redis, ...serverParts(options, paths, externalRedis ?? paths.redisSocket)],
      options.log,
      paths,
    );
  } finally {
    clearInterval(refresh);
    over.abort();
    await rm(paths.stateFile, { force: true });
    await lock.release();
  }
}

/** Runs the parts for as long as the data directory is this stack's. */
async function runHolding(
  lock: PidLock,
  specifications: readonly ChildSpecification[],
  log: StackOptions['log'],
  paths: LocalPaths,
): Promise<void> {
  const file = new StackStateFile(paths.stateFile, log);
  const startedAt = new Date().toISOString();
  const redis = specifications[0]?.name === 'redis' ? 'embedded' : 'external';
  const parts = new RunningParts(specifications, {
    log,
    onChange: (children, healthy) => file.write({ ...processesOf(children), healthy, startedAt, redis }),
    onHealthy: async () => {
      await file.written();
      log(healthyLine(paths));
    },
  });
  let isOver = false;
  const looks = setInterval(async () => {
    // What cannot be looked at is not lost. A look may take so long that the lock has been released meanwhile.
    if ((await lock.isHeld().catch(() => true)) || isOver) return;
    log('the data directory was removed, or is another server’s now: ending');
    // Killed: on their way out they would remove the sockets of these names, which may be those of the next stack.
    parts.endAtOnce();
  }, LOCK_LOOK);
  try {
    await withReason(paths, parts.run());
  } finally {
    isOver = true;
    clearInterval(looks);
    await file.written();
  }
}

function healthyLine({ dataDirectory }: LocalPaths): string {
  return `healthy, data directory ${dataDirectory}`;
}

/** What fails because of the data directory is told as that. */
async function withReason<T>(paths: LocalPaths, start: Promise<T>): Promise<T> {
  try {
    return await start;
  } catch (error) {
    throw await reasonOfFailure(paths, error);
  }
}

function processesOf(children: readonly SupervisedChild[]): Pick<StackState, 'supervisor' | 'children'> {
  const supervisor = identifyProcess(process.pid);
  if (supervisor === undefined) throw new Error('this process cannot be identified; is /proc mounted?');
  return {
    supervisor,
    children: children.flatMap(({ name, ready, pid }) => {
      const identity = pid === undefined ? undefined : identifyProcess(pid);
      return identity === undefined ? [] : [{ name, ready, process: identity }];
    }),
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
