import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';
import { checkSocketPaths, type LocalPaths, localPaths } from '../local-paths.ts';
import { healthOf } from './api-health.ts';
import { makeDirectories, reasonOfFailure } from './data-directory.ts';
import { logSize, rotateLog } from './log-file.ts';
import { pidLockHolder } from './pid-lock.ts';
import { type ProcessIdentity, processState } from './process-identity.ts';
import { findRedisServer } from './redis-server.ts';
import { requireServerProgram } from './server-program.ts';
import { readStackState, type StackState } from './stack-state.ts';

export interface DetachedOptions {
  readonly dataDirectory: string;
  readonly workers: number;
  readonly listen?: string;
}

/** Ms until it has to be healthy. */
const START_TIMEOUT = 30_000;
/** A start that takes longer than people expect is announced. */
const PATIENCE = 3000;
const POLL = 20;
const LOG_TAIL = 20;
/** The line in which the API or a worker says why it cannot start, before it exits. */
const LAST_WORDS = /^bhatti (api|worker): (.+)$/;

/** Variables meant for this command, and not for a server that outlives it. */
const PRIVATE_VARIABLES = ['BHATTI_TOKEN', 'BHATTI_URL', 'BHATTI_CONFIG', 'BHATTI_REGISTRY_AUTH'];

/**
 * Starts the local stack in the background, unless one runs, and resolves when it is healthy. Two callers at once end up with
 * one stack. Rejects with CliError `start_failed`, which gives the reason, the end of the log, or the process that runs and does
 * not answer; with `redis_unavailable` if it is the server's Redis that does not.
 */
export async function startDetached(options: DetachedOptions): Promise<StackState> {
  const paths = localPaths(options.dataDirectory);
  checkSocketPaths(paths);
  requireServerProgram();
  if (!process.env.REDIS_URL) findRedisServer(process.env);
  await makeDirectories(paths);
  const isRunning = (await pidLockHolder(paths.lockFile)) !== undefined;
  const logStart = isRunning ? await logSize(paths.logFile) : await rotateLog(paths.logFile);
  const startedAt = performance.now();
  let told = false;
  let supervisor: ChildProcess | undefined;
  let other: ProcessIdentity | undefined;
  for (;;) {
    const state = await healthyState(paths);
    if (state !== undefined) return state;
    if (supervisor === undefined || hasEnded(supervisor)) {
      const holder = await pidLockHolder(paths.lockFile);
      if (holder === undefined) {
        if (supervisor !== undefined) {
          // On a full disk there is no log to read the reason from.
          throw await reasonOfFailure(paths, await startFailed(paths, logStart, 'the local server does not start'));
        }
        supervisor = await spawnSupervisor(options, paths).catch(async (error: unknown) => {
          throw await reasonOfFailure(paths, error);
        });
      } else if (processState(holder) === 'unknown') {
        throw new CliError('start_failed', `the data directory is in use by a server on the host ${holder.host}`, {
          hint: 'Use its URL (--url), or a data directory of this host (--data-dir).',
        });
      }
      other = holder;
    }
    const waited = performance.now() - startedAt;
    if (waited > START_TIMEOUT) throw await tooLate(paths, logStart, supervisor === undefined ? other : undefined);
    if (waited > PATIENCE && !told) {
      told = true;
      process.stderr.write(`${supervisor === undefined ? 'waiting for' : 'starting'} the local server...\n`);
    }
    await delay(POLL);
  }
}

/** The state of the stack when its supervisor lives and its API answers now. */
async function healthyState(paths: LocalPaths): Promise<StackState | undefined> {
  const state = await readStackState(paths.stateFile);
  if (!state?.healthy || processState(state.supervisor) !== 'alive') return undefined;
  return (await healthOf(paths)) === undefined ? undefined : state;
}

/** Starts `bhatti serve` in a session of its own, logging to the log file. */
async function spawnSupervisor(options: DetachedOptions, paths: LocalPaths): Promise<ChildProcess> {
  const args = ['serve', '--data-dir', paths.dataDirectory, '--workers', String(options.workers)];
  if (options.listen !== undefined) args.push('--listen', options.listen);
  const env = { ...process.env };
  for (const name of PRIVATE_VARIABLES) delete env[name];
  const log = await open(paths.logFile, 'a', 0o600);
  try {
    const supervisor = spawn(process.execPath, [fileURLToPath(import.meta.url), ...args], {
      // Not the caller's directory, which could not be unmounted then.
      cwd: '/',
      env,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    // Some failures come as an event: too many processes, or a Node binary that is gone.
    await once(supervisor, 'spawn').catch((cause: Error) => {
      throw new CliError('start_failed', `the local server does not start: ${cause.message}`, { cause });
    });
    supervisor.unref();
    return supervisor;
  } finally {
    await log.close();
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** @param other the supervisor of a server that ran before */
async function tooLate(paths: LocalPaths, logStart: number, other: ProcessIdentity | undefined): Promise<CliError> {
  const seconds = `${START_TIMEOUT / 1000} s`;
  if ((await healthOf(paths))?.redis === 'down') {
    return new CliError('redis_unavailable', `the local server runs, but its Redis has not answered for ${seconds}`, {
      hint: `${process.env.REDIS_URL ? 'REDIS_URL names it: correct that, or unset it for a Redis of its own; then' : `See ${paths.logFile};`} bhatti serve stop, and this again.`,
    });
  }
  if (other === undefined) return startFailed(paths, logStart, `the local server is not healthy after ${seconds}`);
  return new CliError('start_failed', `the local server (pid ${other.pid}) runs, but has not answered for ${seconds}`, {
    hint: `It may be overloaded, suspended or stuck: see ${paths.logFile}. "bhatti serve stop" ends it.`,
  });
}

/** With the reason that a part gave before it exited, or else the end of the log. */
async function startFailed(paths: LocalPaths, logStart: number, message: string): Promise<CliError> {
  const lines = await logLines(paths.logFile, logStart);
  const reason = lines.flatMap((line) => LAST_WORDS.exec(line)?.slice(1).join(': ') ?? []).at(-1);
  const tail = lines.slice(-LOG_TAIL).map((line) => `  ${line}\n`);
  return new CliError('start_failed', reason === undefined ? message : `${message}: ${reason}`, {
    hint: `${reason === undefined ? tail.join('') : ''}The whole log: ${paths.logFile}`,
  });
}

/** The last lines of the log from byte `start` on; none if it cannot be read. */
async function logLines(path: string, start: number): Promise<string[]> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const from = Math.max(start, size - 16_384);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
      return buffer.subarray(0, bytesRead).toString('utf8').trimEnd().split('\n');
    } finally {
      await file.close();
    }
  } catch {
    return [];
  }
}
