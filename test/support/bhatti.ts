import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';

const project = fileURLToPath(new URL('../../', import.meta.url));

/** All that a command may say on stderr that starts the stack, or waits for one: on a busy machine that takes long enough to be told. */
export const atMostStarting = /^((starting|waiting for) the local server\.\.\.\n)?$/;

export interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs. */
export interface RunningCommand {
  readonly child: ChildProcess;
  readonly outcome: Promise<Outcome>;
  /** Resolves to what is on stdout as soon as that holds the text; rejects when the command ends without it. */
  stdoutHas(text: string): Promise<string>;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/** The built command line with a data directory of its own, and so with a stack of its own, as soon as it starts one. */
export interface Bhatti {
  readonly dataDirectory: string;
  start(args: readonly string[], options?: RunOptions): RunningCommand;
  run(args: readonly string[], options?: RunOptions): Promise<Outcome>;
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

/** Where the user will see the program: a checkout may lie where only its owner can look. */
async function placeFor(user: number, directory: string): Promise<string> {
  const place = join(directory, 'program');
  for (const folder of ['dist', 'node_modules']) await mkdir(join(place, folder), { recursive: true });
  await copyFile(join(project, 'package.json'), join(place, 'package.json'));
  await chown(place, user, user);
  return place;
}

/**
 * Runs a command as the user, as near to the sandbox of deploy/systemd as goes without systemd: nothing can be written but the
 * directory, and there is no privilege, nor a way to one. In a mount namespace of its own, which has the program in its place.
 */
function inSandbox(user: number, directory: string, place: string): string[] {
  const bind = (folder: string) => `mount --bind '${join(project, folder)}' '${join(place, folder)}'`;
  const script = [
    `mount --bind '${directory}' '${directory}'`,
    bind('dist'),
    bind('node_modules'),
    // Each mount by itself: a new one of the same file system is not what is made read-only.
    `for at in '${place}/dist' '${place}/node_modules' / /dev/shm; do mount -o remount,bind,ro "$at"; done`,
    `exec setpriv --reuid=${user} --regid=${user} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"`,
  ].join(' && ');
  return ['unshare', '--mount', 'sh', '-c', script, 'sh'];
}

export interface BhattiOptions {
  /** The numeric id to run as, in a sandbox, which only root can ask for. */
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
    status: async () => stackStatus.parse(JSON.parse((await run(['serve', 'status', '--json'])).stdout)),
    remove: async () => {
      await run(['serve', 'stop']);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
