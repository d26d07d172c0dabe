import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { runHere } from '../../apps/cli/test/command-line.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));

/** All that a command that starts the stack, or waits for it, may print to stderr: on a busy machine a start is slow enough to be announced. */
export const atMostStarting = /^((starting|waiting for) the local server\.\.\.\n)?$/;

export interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running command. */
export interface RunningCommand {
  readonly child: ChildProcess;
  readonly outcome: Promise<Outcome>;
  /** Resolves with the stdout so far once it contains the text; rejects if the command ends before. */
  stdoutHas(text: string): Promise<string>;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/** The built command line with a data directory, and so a stack, of its own. */
export interface Bhatti {
  readonly dataDirectory: string;
  start(args: readonly string[], options?: RunOptions): RunningCommand;
  run(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** The same in this process, which is cheaper by far, for commands that use the stack that runs. */
  here(args: readonly string[]): Promise<Outcome>;
  /** `serve status`; rejects when no stack runs. */
  status(): Promise<StackStatus>;
  /** Stops the stack, if there is one, and removes everything. */
  remove(): Promise<void>;
}

const stackStatus = z.object({
  pid: z.int(),
  children: z.array(z.object({ name: z.string(), pid: z.int() })),
  url: z.string(),
  token: z.string(),
  log: z.string(),
});
export type StackStatus = z.output<typeof stackStatus>;

/** Makes the folder in which the user will see the program: the checkout may be readable by its owner only. */
async function placeFor(user: number, directory: string): Promise<string> {
  const place = join(directory, 'program');
  for (const folder of ['dist', 'node_modules']) await mkdir(join(place, folder), { recursive: true });
  await copyFile(join(project, 'package.json'), join(place, 'package.json'));
  await chown(place, user, user);
  return place;
}

/**
 * The command that runs another one as the user, as close to the sandbox of deploy/systemd as is possible without systemd: only the
 * directory is writable, and there are no privileges, nor ways to gain any. A mount namespace has the program at `place`.
 */
function inSandbox(user: number, directory: string, place: string): string[] {
  const bind = (folder: string) => `mount --bind '${join(project, folder)}' '${join(place, folder)}'`;
  const script = [
    `mount --bind '${directory}' '${directory}'`,
    bind('dist'),
    bind('node_modules'),
    // Mount by mount, as making one read-only does not affect other mounts of the same file system.
    `for at in '${place}/dist' '${place}/node_modules' / /dev/shm; do mount -o remount,bind,ro "$at"; done`,
    `exec setpriv --reuid=${user} --regid=${user} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"`,
  ].join(' && ');
  return ['unshare', '--mount', 'sh', '-c', script, 'sh'];
}

export interface BhattiOptions {
  /** The numeric id to run as, in a sandbox; needs root. */
  readonly user?: number;
  /** Of the commands, octal. */
  readonly umask?: string;
}

export async function createBhatti({ user, umask }: BhattiOptions = {}): Promise<Bhatti> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-e2e-'));
  if (user !== undefined) await chown(directory, user, user);
  const dataDirectory = join(directory, 'data');
  const program = join(user === undefined ? project : await placeFor(user, directory), 'dist', 'cli.js');
  const command = [
    ...(umask === undefined ? [] : ['sh', '-c', `umask ${umask}; exec "$@"`, 'sh']),
    ...(user === undefined ? [] : inSandbox(user, directory, dirname(dirname(program)))),
  ];

  function start(args: readonly string[], { env = {}, stdin }: RunOptions = {}): RunningCommand {
    const [file = '', ...rest] = [...command, process.execPath, program, ...args];
    const child = spawn(file, rest, {
      cwd: directory,
      env: {
        PATH: process.env.PATH,
        HOME: directory,
        BHATTI_DATA_DIR: dataDirectory,
        BHATTI_LISTEN: '127.0.0.1:0',
        ...env,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const text = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (data: string) => {
      text.stdout += data;
    });
    child.stderr.setEncoding('utf8').on('data', (data: string) => {
      text.stderr += data;
    });
    // A command that does not read its stdin may end before this is written.
    child.stdin.on('error', () => {});
    child.stdin.end(stdin);
    const outcome = once(child, 'close').then(() => ({ exitCode: child.exitCode, ...text }));
    return {
      child,
      outcome,
      stdoutHas: async (wanted) => {
        const ended = outcome.then(({ stdout, stderr }) => {
          if (!stdout.includes(wanted)) throw new Error(`ended without ${JSON.stringify(wanted)}: ${stdout}${stderr}`);
        });
        while (!text.stdout.includes(wanted)) await Promise.race([once(child.stdout, 'data'), ended]);
        return text.stdout;
      },
    };
  }

  const run = (args: readonly string[], options?: RunOptions) => start(args, options).outcome;
  return {
    dataDirectory,
    start,
    run,
    here: (args) => runHere(args, { env: { PATH: process.env.PATH, HOME: directory, BHATTI_DATA_DIR: dataDirectory } }),
    status: async () => stackStatus.parse(JSON.parse((await run(['serve', 'status', '--json'])).stdout)),
    remove: async () => {
      await run(['serve', 'stop']);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
