import { readFile, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { CliError, systemErrorCode } from '../cli-error.ts';
import { type LocalPaths, localPaths } from '../local-paths.ts';
import type { Settings } from '../settings.ts';
import { type Console, printJson } from '../terminal/console.ts';
import { startDetached } from './detached.ts';
import { pidLockHolder } from './pid-lock.ts';
import { type ProcessIdentity, processState, signalProcess } from './process-identity.ts';
import { requireServerProgram } from './server-program.ts';
import { runStack } from './stack.ts';
import { type ApiAddress, readApiAddress, readStackState, type StackState } from './stack-state.ts';

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

/** `bhatti serve status`: exit code 1 when no stack runs for the data directory. */
export async function serveStatus(settings: Settings, console: Console): Promise<number> {
  const paths = localPaths(settings.dataDirectory);
  const holder = await holderOf(paths);
  if (holder === undefined) {
    if (settings.json) printJson(console, { state: 'stopped', data_dir: paths.dataDirectory });
    else console.out(`state     stopped\ndata dir  ${paths.dataDirectory}\n`);
    return 1;
  }
  const state = await readStackState(paths.stateFile);
  const address = await readApiAddress(paths.apiFile);
  const status = await describeStatus(paths, holder.pid, state, address);
  if (settings.json) printJson(console, status);
  else console.out(formatStatus(status));
  if (address.taken) console.err(takenWarning(address.taken));
  return 0;
}

/** `bhatti serve stop`: resolves when the stack is gone; fine when there was none. */
export async function serveStop(settings: Settings, console: Console): Promise<number> {
  const paths = localPaths(settings.dataDirectory);
  const holder = await holderOf(paths);
  if (holder === undefined) {
    report('not running', settings, console);
    return 0;
  }
  if (processState(holder) === 'unknown') {
    throw new CliError('other_host', `the server runs on the host ${holder.host}; stop it there`);
  }
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

/** Who runs the stack; undefined when nobody does. */
async function holderOf({ dataDirectory, lockFile }: LocalPaths): Promise<ProcessIdentity | undefined> {
  try {
    return await pidLockHolder(lockFile);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    throw new CliError('data_dir_unusable', `cannot look into the data directory ${dataDirectory} (${code})`, {
      cause: error,
      hint: 'Run this as the user whose server it is, or name another directory with --data-dir.',
    });
  }
}

interface Status {
  readonly state: 'running' | 'starting';
  readonly pid: number;
  readonly started_at: string | null;
  readonly children: readonly { readonly name: string; readonly pid: number; readonly ready: boolean }[];
  readonly redis: 'embedded' | 'external' | null;
  readonly url: string | null;
  readonly socket: string;
  readonly token: string | null;
  readonly data_dir: string;
  /** null if its output goes elsewhere: it runs in the foreground, or under a service manager. */
  readonly log: string | null;
}

async function describeStatus(
  paths: LocalPaths,
  pid: number,
  state: StackState | undefined,
  { listen }: ApiAddress,
): Promise<Status> {
  return {
    state: state?.healthy ? 'running' : 'starting',
    pid,
    started_at: state?.startedAt ?? null,
    children: state?.children.map(({ name, ready, process }) => ({ name, pid: process.pid, ready })) ?? [],
    redis: state?.redis ?? null,
    url: listen,
    socket: paths.apiSocket,
    token: await readToken(paths.tokenFile),
    data_dir: paths.dataDirectory,
    log: (await writesTo(paths.logFile, pid)) ? paths.logFile : null,
  };
}

/** Whether the stderr of the process goes to the file. Without /proc, that the file exists has to do. */
async function writesTo(path: string, pid: number): Promise<boolean> {
  const [file, stderr] = await Promise.all([path, `/proc/${pid}/fd/2`].map((one) => stat(one).catch(() => undefined)));
  return file !== undefined && (stderr === undefined || (stderr.ino === file.ino && stderr.dev === file.dev));
}

function formatStatus(status: Status): string {
  const children = status.children.map(({ name, pid, ready }) => `${name} (pid ${pid}${ready ? '' : ', not ready'})`);
  const fields = [
    ['state', `${status.state} (pid ${status.pid})`],
    ['parts', children.join(', ') || '-'],
    ['url', status.url ?? '- (unix socket only)'],
    ['socket', status.socket],
    ['token', status.token ?? '-'],
    ['data dir', status.data_dir],
    ['log', status.log ?? '- (its stderr)'],
  ] as const;
  return fields.map(([name, value]) => `${name.padEnd(8)}  ${value}\n`).join('');
}

function takenWarning(address: string): string {
  return `warning: another program had ${address} when the server started, so it has no URL
For one: bhatti serve stop, then bhatti serve --detach --listen host:port (127.0.0.1:0 takes a free port)
`;
}

function report(state: string, settings: Settings, console: Console): void {
  if (settings.json) printJson(console, { state: 'stopped', data_dir: settings.dataDirectory });
  else console.out(`${state}\n`);
}

async function readToken(path: string): Promise<string | null> {
  return readFile(path, 'utf8').then(
    (text) => text.trim() || null,
    () => null,
  );
}
