import { readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { LocalPaths } from '../local-paths.ts';
import type { LoneApi } from './lone-api.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { readApiAddress, readStackState } from './stack-state.ts';

/** What `bhatti serve status --json` prints of a server that runs. */
export interface Status {
  readonly state: 'running' | 'starting';
  /** Of the supervisor, or of an API that runs without one. */
  readonly pid: number | null;
  /** Where that process runs. */
  readonly host: string;
  readonly started_at: string | null;
  /** null for an API without a supervisor: its workers are not known here. */
  readonly children: readonly { readonly name: string; readonly pid: number; readonly ready: boolean }[] | null;
  readonly redis: 'embedded' | 'external' | null;
  readonly url: string | null;
  readonly socket: string;
  readonly token: string | null;
  readonly data_dir: string;
  /** null if its output goes elsewhere: it runs in the foreground, or under a service manager. */
  readonly log: string | null;
}

/** @param holder the supervisor of the stack */
export async function statusOfStack(paths: LocalPaths, holder: ProcessIdentity): Promise<Status> {
  const state = await readStackState(paths.stateFile);
  return {
    state: state?.healthy ? 'running' : 'starting',
    pid: holder.pid,
    host: holder.host,
    started_at: state?.startedAt ?? null,
    children: state?.children.map(({ name, ready, process }) => ({ name, pid: process.pid, ready })) ?? [],
    redis: state?.redis ?? null,
    url: (await readApiAddress(paths.apiFile)).listen,
    socket: paths.apiSocket,
    token: await readToken(paths.tokenFile),
    data_dir: paths.dataDirectory,
    log: (await writesTo(paths.logFile, holder.pid)) ? paths.logFile : null,
  };
}

export async function statusOfLoneApi(paths: LocalPaths, api: LoneApi): Promise<Status> {
  return {
    state: 'running',
    pid: api.pid ?? null,
    host: api.otherHost ?? hostname(),
    started_at: api.startedAt ?? null,
    children: null,
    redis: 'external',
    url: api.listen,
    socket: paths.apiSocket,
    token: await readToken(paths.tokenFile),
    data_dir: paths.dataDirectory,
    log: null,
  };
}

/** For people: a field a line. */
export function formatStatus(status: Status): string {
  const children = status.children?.map(({ name, pid, ready }) => `${name} (pid ${pid}${ready ? '' : ', not ready'})`);
  const fields = [
    ['state', `${status.state} (${processOf(status)})`],
    [
      'parts',
      children === undefined ? 'the API alone; "bhatti admin status" counts the workers' : children.join(', ') || '-',
    ],
    ['url', status.url ?? '- (unix socket only)'],
    ['socket', status.socket],
    ['token', status.token ?? '-'],
    ['data dir', status.data_dir],
    ['log', status.log ?? '- (its stderr)'],
  ] as const;
  return fields.map(([name, value]) => `${name.padEnd(8)}  ${value}\n`).join('');
}

/** For an API whose default address another program had. */
export function takenWarning(address: string): string {
  return `warning: another program had ${address} when the server started, so it has no URL
For one: bhatti serve stop, then bhatti serve --detach --listen host:port (127.0.0.1:0 takes a free port)
`;
}

function processOf({ pid, host }: Status): string {
  return `pid ${pid ?? 'unknown'}${host === hostname() ? '' : ` on ${host}`}`;
}

/** Whether the stderr of the process goes to the file. Without /proc, that the file exists has to do. */
async function writesTo(path: string, pid: number): Promise<boolean> {
  const [file, stderr] = await Promise.all([path, `/proc/${pid}/fd/2`].map((one) => stat(one).catch(() => undefined)));
  return file !== undefined && (stderr === undefined || (stderr.ino === file.ino && stderr.dev === file.dev));
}

async function readToken(path: string): Promise<string | null> {
  return readFile(path, 'utf8').then(
    (text) => text.trim() || null,
    () => null,
  );
}
