import { setTimeout as delay } from 'node:timers/promises';
import { CliError, systemErrorCode } from '../cli-error.ts';
import { type LocalPaths, localPaths } from '../local-paths.ts';
import type { Settings } from '../settings.ts';
import { type Console, printJson } from '../terminal/console.ts';
import { startDetached } from './detached.ts';
import { loneApi } from './lone-api.ts';
import { pidLockHolder } from './pid-lock.ts';
import { type ProcessIdentity, processState, signalProcess } from './process-identity.ts';
import { requireServerProgram } from './server-program.ts';
import { runStack } from './stack.ts';
import { readApiAddress } from './stack-state.ts';
import { formatStatus, type Status, statusOfLoneApi, statusOfStack, takenWarning } from './status.ts';

export interface ServeFlags {
  readonly detach: boolean;
  /** One, unless it is given. */
  readonly workers?: number;
  readonly role?: 'api' | 'worker';
  readonly listen?: string;
}

/** A stack stops within 10 s. */
const STOP_TIMEOUT = 15_000;

/** `bhatti serve`: in the foreground until a signal, or detached until healthy. */
export async function serveCommand(
  flags: ServeFlags,
  settings: Settings,
  env: NodeJS.ProcessEnv,
  console: Console,
): Promise<number> {
  requireServerProgram();
  const { dataDirectory } = settings;
  if (!flags.detach) {
    process.title = 'bhatti serve';
    // Redis has no setting for the mode of its files.
    process.umask(0o077);
    await runStack({
      ...flags,
      workers: flags.workers ?? 1,
      dataDirectory,
      env,
      log: (line) => console.err(`${new Date().toISOString()} serve: ${line}\n`),
    });
    return 0;
  }
  if (flags.role !== undefined) {
    throw new CliError('invalid_request', '--detach runs the whole stack; run --role under a service manager');
  }
  const before = await holderOf(localPaths(dataDirectory));
  await startDetached({ dataDirectory, workers: flags.workers ?? 1, listen: flags.listen });
  if (before !== undefined && (flags.workers ?? flags.listen) !== undefined) {
    console.err('warning: it runs already, as it was started; for other flags: bhatti serve stop, then this again\n');
  }
  return serveStatus(settings, console);
}

/** `bhatti serve status`: exit code 1 when no server runs for the data directory. */
export async function serveStatus(settings: Settings, console: Console): Promise<number> {
  const paths = localPaths(settings.dataDirectory);
  const status = await currentStatus(paths);
  if (status === undefined) {
    if (settings.json) printJson(console, { state: 'stopped', data_dir: paths.dataDirectory });
    else console.out(`state     stopped\ndata dir  ${paths.dataDirectory}\n`);
    return 1;
  }
  if (settings.json) printJson(console, status);
  else console.out(formatStatus(status));
  const { taken } = await readApiAddress(paths.apiFile);
  if (taken) console.err(takenWarning(taken));
  return 0;
}

async function currentStatus(paths: LocalPaths): Promise<Status | undefined> {
  const holder = await holderOf(paths);
  if (holder !== undefined) return statusOfStack(paths, holder);
  const api = await loneApi(paths);
  return api && statusOfLoneApi(paths, api);
}

/** `bhatti serve stop`: resolves when the stack is gone; fine when there was none. Does not end an API that runs without one. */
export async function serveStop(settings: Settings, console: Console): Promise<number> {
  const paths = localPaths(settings.dataDirectory);
  const holder = await holderOf(paths);
  if (holder === undefined) {
    await refuseLoneApi(paths);
    report('not running', settings, console);
    return 0;
  }
  if (processState(holder) === 'unknown') throw runsElsewhere(holder.host);
  signalProcess(holder, 'SIGTERM');
  // A suspended process (Ctrl+Z) gets it only once it continues.
  signalProcess(holder, 'SIGCONT');
  const until = performance.now() + STOP_TIMEOUT;
  while (processState(holder) === 'alive') {
    if (performance.now() > until) {
      throw new CliError('stop_failed', `the server (pid ${holder.pid}) has not stopped after 15 s`, {
        hint: `See ${paths.logFile}.`,
      });
    }
    await delay(20);
  }
  report('stopped', settings, console);
  return 0;
}

/** What runs an API without a stack would start it again. Rejects with CliError `stop_failed` or `other_host` if there is one. */
async function refuseLoneApi(paths: LocalPaths): Promise<void> {
  const api = await loneApi(paths);
  if (api === undefined) return;
  if (api.otherHost !== undefined) throw runsElsewhere(api.otherHost);
  throw new CliError('stop_failed', `an API of its own (pid ${api.pid ?? 'unknown'}) uses this data directory`, {
    hint: 'Stop it as it was started: with Ctrl+C, or by its service manager.',
  });
}

function runsElsewhere(host: string): CliError {
  return new CliError('other_host', `the server runs on the host ${host}; stop it there`);
}

/** Who runs the stack; undefined when nobody does. */
async function holderOf({ dataDirectory, lockFile }: LocalPaths): Promise<ProcessIdentity | undefined> {
  try {
    return await pidLockHolder(lockFile);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    throw new CliError('data_dir_unusable', `cannot look into the data directory ${dataDirectory} (${code})`, {
      cause: error,
      hint:
        code === 'ENOTDIR'
          ? 'It, or run in it, is a file: move that elsewhere, or name another directory with --data-dir.'
          : 'Run this as the user whose server it is, or name another directory with --data-dir.',
    });
  }
}

function report(state: string, settings: Settings, console: Console): void {
  if (settings.json) printJson(console, { state: 'stopped', data_dir: settings.dataDirectory });
  else console.out(`${state}\n`);
}
