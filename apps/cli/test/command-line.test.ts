import type { ChildProcess } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { positionOf } from '../command-position.ts';
import { createContext } from '../commands/context.ts';
import { familiarWords } from '../familiar-word.ts';
import { createProgram } from '../program.ts';
import { processConsole } from '../terminal/console.ts';
import { runHere } from './command-line.ts';
import type { Answer, Call, Handler } from './http-server.ts';
import { events, serveAnswers } from './http-server.ts';
import { cleanEnvironment, stageCli } from './staged-cli.ts';

/** Command lines, against a server that answers by script; as a process of its own where the process is what is tested. */
let staged: Awaited<ReturnType<typeof stageCli>>;
let environment: NodeJS.ProcessEnv;
let server: Awaited<ReturnType<typeof serveAnswers>> | undefined;
let dataDirectory: string;
let count = 0;
/** An image with no more than the API always tells. */
const plainImage = {
  name: 'py',
  ref: 'python:3.12',
  digest: 'sha256:1',
  platform: 'linux/amd64',
  size_bytes: 1,
  disk_bytes: 1,
  created_at: '2026-01-01T00:00:00.000Z',
};
const health: Answer = { status: 200, body: { status: 'ok', version: '0', redis: 'ok' } };

beforeAll(async () => {
  staged = await stageCli();
});
afterAll(() => staged.remove());
afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** Starts a server on the socket of a fresh data directory. */
async function startServer(handler: Handler) {
  count += 1;
  dataDirectory = staged.dataDirectory(`data${count}`);
  await mkdir(join(dataDirectory, 'run'), { recursive: true });
  environment = cleanEnvironment(dataDirectory, { BHATTI_DATA_DIR: dataDirectory });
  await listen(handler);
}

async function listen(handler: Handler) {
  server = await serveAnswers(
    (call) => (call.url.pathname === '/health' ? health : handler(call)),
    join(dataDirectory, 'run/api.sock'),
  );
}

const run = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  runHere(args, { env: { ...environment, ...env } });

function start(args: readonly string[], stdin = '') {
  const started = staged.start(args, { env: environment });
  started.child.stdin.end(stdin);
  return started;
}

function printed(child: ChildProcess, output: { stdout: string }, text: string): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (!output.stdout.includes(text)) return;
      child.stdout?.off('data', check);
      resolve();
    };
    child.stdout?.on('data', check);
    check();
  });
}

function view(status: string, lines: readonly string[], more: object = {}) {
  const steps = lines.map((line) => ({ phase: line.split(' ')[0] ?? '', line }));
  return {
    id: 'tsk_abc123',
    type: 'pull',
    status,
    name: 'python-3.12',
    ref: 'python:3.12',
    progress: lines.at(-1) ?? null,
    detail: lines.length === 0 ? null : { line: lines.at(-1), phase: steps.at(-1)?.phase, steps },
    result: null,
    error: null,
    created_at: '2026-01-01T00:00:00.000Z',
    started_at: null,
    completed_at: null,
    ...more,
  };
}

const queued: Answer = { status: 202, body: { task_id: 'tsk_abc123', status: 'queued', name: 'python-3.12' } };
const lines = ['resolving manifest...', 'downloading layers (142 MB / 142 MB)...', 'flattening to ext4...'];
const result = {
  image: 'python-3.12',
  digest: 'sha256:1',
  sizeBytes: 1,
  steps: lines.map((line) => ({ phase: line.split(' ')[0], line })),
  warnings: [],
};
const completed = view('completed', lines, { result });

const noRoute: Answer = { status: 404, body: { error: 'there is no such route', code: 'not_found', request_id: 'r' } };
const isEvents = ({ url }: Call) => url.pathname.endsWith('/events');

/** A pull whose task is seen as `views`, one after the other, the last one for good; on a server without events. */
function pullWith(views: readonly unknown[]) {
  const left = [...views];
  return (call: Call): Answer => {
    if (call.method === 'POST') return queued;
    if (isEvents(call)) return noRoute;
    return { status: 200, body: left.length > 1 ? left.shift() : left[0] };
  };
}

/** The states, and then nothing more for as long as anybody listens. */
async function* lasting(...states: readonly unknown[]) {
  yield* states;
  await new Promise(() => {});
}

const TRANSCRIPT = `pulling python:3.12 as "python-3.12" (task: tsk_abc123)
  resolving manifest...
  downloading layers (142 MB / 142 MB)...
  flattening to ext4...
done
`;

describe('image pull', () => {
  test('prints the documented transcript and polls for what it has not seen', async () => {
    await startServer(pullWith([view('queued', []), view('running', lines.slice(0, 1)), completed]));
    expect(await run(['image', 'pull', 'python:3.12'])).toEqual({ exitCode: 0, stdout: TRANSCRIPT, stderr: '' });
    const polls = server?.calls.filter(({ url }) => url.pathname === '/tasks/tsk_abc123').map(({ url }) => url.search);
    expect(polls).toEqual(['', '?wait=2&seen=', '?wait=2&seen=resolving+manifest...']);
  });

  test('follows the events of the task, and polls nothing', async () => {
    await startServer((call) =>
      call.method === 'POST' ? queued : events([view('queued', []), view('running', lines.slice(0, 1)), completed]),
    );
    expect(await run(['image', 'pull', 'python:3.12'])).toEqual({ exitCode: 0, stdout: TRANSCRIPT, stderr: '' });
    expect(server?.calls.slice(-1).map(({ url }) => url.pathname + url.search)).toEqual(['/tasks/tsk_abc123/events']);
    expect(server?.calls.filter(({ url }) => url.pathname.startsWith('/tasks/'))).toHaveLength(1);
  });

  test('sends what was asked for', async () => {
    await startServer(pullWith([completed]));
    const flags = ['--name', 'py', '--auth', '-', '--platform', 'linux/arm64', '--size', '2GB', '--force'];
    await start(['image', 'pull', 'python:3.12', ...flags], 'user:secret\n').ended;
    const post = server?.calls.find(({ method }) => method === 'POST');
    expect(JSON.parse(post?.body ?? '')).toEqual({
      ref: 'python:3.12',
      name: 'py',
      auth: 'user:secret',
      platform: 'linux/arm64',
      size: '2GB',
      force: true,
    });
    await run(['image', 'pull', 'python:3.12'], { BHATTI_REGISTRY_AUTH: 'user:other' });
    expect(server?.calls.findLast(({ method }) => method === 'POST')?.body).toBe(
      '{"ref":"python:3.12","auth":"user:other"}',
    );
  });

  test.each([
    ['pull', ['image', 'pull', 'alpine', '--platform', 'foo']],
    ['import', ['image', 'import', '--tar', '-', '--name', 'a', '--platform', 'linux/']],
    ['rootfs build', ['rootfs', 'build', 'none.tar', '-o', 'none.ext4', '--platform', 'windows/amd64']],
  ])('a platform that is none is refused before anything is asked for: %s', async (_what, args) => {
    await startServer(() => ({ status: 500, body: {} }));
    const { exitCode, stdout, stderr } = await run(args);
    expect({ exitCode, stdout, calls: server?.calls }).toEqual({ exitCode: 1, stdout: '', calls: [] });
    expect(stderr).toMatch(/^error: .*platform .*linux.* \(invalid_platform\)\n$/);
  });

  test('an image that is there already', async () => {
    await startServer(() => ({ status: 200, body: { status: 'exists', image: 'python-3.12', digest: 'sha256:1' } }));
    expect(await run(['image', 'pull', 'python:3.12'])).toEqual({
      exitCode: 0,
      stdout: 'python-3.12 is already up to date (sha256:1)\ndone\n',
      stderr: '',
    });
  });

  test('--json prints the task and ends', async () => {
    await startServer(() => queued);
    const { exitCode, stdout } = await run(['--json', 'image', 'pull', 'python:3.12']);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toEqual(queued.body);
    expect(server?.calls).toHaveLength(2);
  });

  test('--detach says which task it is, and ends', async () => {
    await startServer(() => queued);
    expect(await run(['image', 'pull', 'python:3.12', '--detach'])).toEqual({
      exitCode: 0,
      stdout: 'pulling python:3.12 as "python-3.12" (task: tsk_abc123)\nFollow it: bhatti task watch tsk_abc123\n',
      stderr: '',
    });
    expect(server?.calls).toHaveLength(2);
  });

  test('--quiet prints the name only', async () => {
    await startServer(pullWith([view('running', lines.slice(0, 1)), completed]));
    const name = { exitCode: 0, stdout: 'python-3.12\n', stderr: '' };
    expect(await run(['image', 'pull', 'python:3.12', '-q'])).toEqual(name);
    expect(await run(['image', 'pull', 'python:3.12', '-q', '-d'])).toEqual(name);
    await server?.close();
    await startServer(() => ({ status: 200, body: { status: 'exists', image: 'python-3.12', digest: 'sha256:1' } }));
    expect(await run(['image', 'pull', 'python:3.12', '-q'])).toEqual(name);
  });

  test('--quiet fails as loudly as ever', async () => {
    const error = { code: 'manifest_unknown', message: 'no such image' };
    await startServer(pullWith([view('failed', lines.slice(0, 1), { error })]));
    expect(await run(['image', 'pull', 'python:3.12', '-q'])).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'error: no such image (manifest_unknown)\n',
    });
  });

  test('warnings are on stderr', async () => {
    await startServer(pullWith([{ ...completed, result: { ...result, warnings: ['no /bin/sh'] } }]));
    expect(await run(['image', 'pull', 'python:3.12'])).toEqual({
      exitCode: 0,
      stdout: TRANSCRIPT,
      stderr: 'warning: no /bin/sh\n',
    });
  });

  test('a pull refused for authentication ends with the hint', async () => {
    const error = { code: 'unauthorized', message: 'ghcr.io refused the pull' };
    await startServer(pullWith([view('failed', lines.slice(0, 1), { error })]));
    expect(await run(['image', 'pull', 'ghcr.io/org/private'])).toEqual({
      exitCode: 1,
      stdout: 'pulling ghcr.io/org/private as "python-3.12" (task: tsk_abc123)\n  resolving manifest...\n',
      stderr: `error: ghcr.io refused the pull (unauthorized)
This image may require authentication.
Pull it with Docker locally, then import:
  docker pull ghcr.io/org/private
  bhatti image import ghcr.io/org/private
`,
    });
  });

  test('a pull from localhost that fails tells how an image that Podman built is imported', async () => {
    const error = { code: 'registry_unreachable', message: 'cannot reach localhost' };
    await startServer(pullWith([view('failed', [], { error })]));
    expect((await run(['image', 'pull', 'localhost/app:1'])).stderr).toBe(
      'error: cannot reach localhost (registry_unreachable)\n' +
        'An image that Podman built? Import it: podman save localhost/app:1 | bhatti image import --tar - --ref localhost/app:1\n',
    );
    expect((await run(['image', 'pull', 'localhost:5000/app:1'])).stderr).not.toContain('Podman');
  });

  test('a pull from localhost that finds the image there says nothing of Podman', async () => {
    const error = { code: 'platform_not_found', message: 'no image for linux/arm64' };
    await startServer(pullWith([view('failed', [], { error })]));
    expect((await run(['image', 'pull', 'localhost/app:1'])).stderr).not.toContain('Podman');
  });

  test('a token that is refused while the pull is watched: it goes on, and can be watched again', async () => {
    await startServer((call) => {
      if (call.method === 'POST') return queued;
      if (server?.calls.length === 3) return events([view('running', lines.slice(0, 1))]);
      return { status: 401, body: {} };
    });
    expect(await run(['image', 'pull', 'python:3.12'])).toEqual({
      exitCode: 1,
      stdout: 'pulling python:3.12 as "python-3.12" (task: tsk_abc123)\n  resolving manifest...\n',
      stderr: `error: the server at ${join(dataDirectory, 'run/api.sock')} wants a token (unauthorized)
Write it down with "bhatti setup", or give it as BHATTI_TOKEN; "bhatti serve status" on the server shows it.
The pull goes on at the server; to watch it again: bhatti task watch tsk_abc123
`,
    });
  });

  test('a task that Redis has lost is told apart from one that never was', async () => {
    const missing = { status: 404, body: { error: 'no task', code: 'not_found', request_id: 'r' } };
    await startServer((call) => (call.method === 'POST' ? queued : missing));
    expect(await run(['image', 'pull', 'python:3.12'])).toEqual({
      exitCode: 1,
      stdout: 'pulling python:3.12 as "python-3.12" (task: tsk_abc123)\n',
      stderr: `error: the task tsk_abc123 is no longer in Redis: somebody deleted it, or Redis lost its data (task_lost)
Pull it again: what was fetched is kept.
`,
    });
    expect((await run(['task', 'watch', 'tsk_abc123'])).stderr).toBe('error: no task (not_found)\n');
  });

  test('a pull that another cancelled', async () => {
    const error = { code: 'cancelled', message: 'cancelled' };
    await startServer(pullWith([view('cancelled', [], { error })]));
    const { exitCode, stderr } = await run(['image', 'pull', 'python:3.12']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: 'error: the pull was cancelled (cancelled)\n' });
  });

  test('Ctrl+C detaches', async () => {
    await startServer((call) => {
      if (call.method === 'POST') return queued;
      return events(lasting(view('running', lines.slice(0, 1))));
    });
    const { child, output, ended } = start(['image', 'pull', 'python:3.12']);
    await printed(child, output, 'resolving');
    child.kill('SIGINT');
    expect(await ended).toEqual({
      exitCode: 130,
      stdout: `pulling python:3.12 as "python-3.12" (task: tsk_abc123)
  resolving manifest...
Interrupted. Pull continues on server.
Check status: bhatti image list
`,
      stderr: '',
    });
  });

  test('Ctrl+C before the server has answered: it may have taken the pull', async () => {
    let child: ReturnType<typeof start>['child'] | undefined;
    await startServer(() => async () => {
      child?.kill('SIGINT');
    });
    const started = start(['image', 'pull', 'python:3.12', '--detach']);
    child = started.child;
    expect(await started.ended).toEqual({
      exitCode: 130,
      stdout: '',
      stderr: 'Interrupted. The pull may have been queued.\nCheck: bhatti task list\n',
    });
  });

  test('goes on when the API is away for a moment, or says 503', async () => {
    let polls = 0;
    const handler = pullWith([view('running', lines.slice(0, 1)), completed]);
    await startServer(async (call) => {
      if (isEvents(call)) return noRoute;
      if (call.method === 'GET' && ++polls === 2) {
        // The connection breaks in the middle of a request, and for a while nothing listens.
        await server?.close();
        setTimeout(() => {
          listen((next) =>
            isEvents(next) ? noRoute : ++polls === 3 ? { status: 503, body: { error: 'stopping' } } : handler(next),
          );
        }, 50);
      }
      return handler(call);
    });
    expect(await run(['image', 'pull', 'python:3.12'])).toEqual({ exitCode: 0, stdout: TRANSCRIPT, stderr: '' });
    expect(polls).toBe(4);
  });

  test('a reader that closes the pipe early is no failure', async () => {
    await startServer(pullWith([view('running', lines.slice(0, 1)), completed]));
    const { child, output, ended } = start(['image', 'pull', 'python:3.12']);
    await printed(child, output, 'pulling');
    child.stdout.destroy();
    expect(await ended).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('the token does not stay in the process list', async () => {
    await startServer((call) => (call.method === 'POST' ? queued : new Promise(() => {})));
    const { child, output, ended } = start(['image', 'pull', 'python:3.12', '--auth', 'user:secret']);
    await printed(child, output, 'pulling');
    expect((await readFile(`/proc/${child.pid}/cmdline`, 'utf8')).replaceAll('\0', '')).toBe('bhatti');
    child.kill('SIGKILL');
    await ended;
  });
});

async function savedFile() {
  const path = join(dataDirectory, 'saved.tar');
  await writeFile(path, '');
  return path;
}

describe('other commands', () => {
  test('image delete asks nobody in a script: it needs -y', async () => {
    await startServer(() => ({ status: 204, body: null }));
    const refused = await run(['image', 'delete', 'py']);
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('Add -y') });
    expect(server?.calls.some(({ method }) => method === 'DELETE')).toBe(false);
    expect(await run(['image', 'rm', '-y', 'py'])).toEqual({ exitCode: 0, stdout: 'deleted py\n', stderr: '' });
    expect(server?.calls.at(-1)).toMatchObject({ method: 'DELETE', url: { pathname: '/images/py' } });
  });

  test('image delete of several: one that is not there does not keep the others', async () => {
    const images: Answer = { status: 200, body: { images: [] } };
    const missing: Answer = { status: 404, body: { error: 'no image "b"', code: 'not_found', request_id: 'r' } };
    await startServer(({ method, url }) => {
      if (method === 'GET') return images;
      return url.pathname === '/images/b' ? missing : { status: 204, body: null };
    });
    for (const [command, yes] of [
      ['delete', '-y'],
      ['rm', '-f'],
      ['rmi', '--force'],
    ] as const) {
      expect(await run(['image', command, 'a', 'b', yes, 'c'])).toEqual({
        exitCode: 1,
        stdout: 'deleted a\ndeleted c\n',
        stderr: 'error: no image "b" (not_found)\n',
      });
    }
  });

  test('-q lists names and ids alone', async () => {
    await startServer(({ url }) => ({
      status: 200,
      body: url.pathname === '/images' ? { images: [plainImage] } : { tasks: [completed], next: null },
    }));
    expect(await run(['image', 'ls', '-q'])).toEqual({ exitCode: 0, stdout: 'py\n', stderr: '' });
    expect(await run(['task', 'ls', '--quiet'])).toEqual({ exitCode: 0, stdout: 'tsk_abc123\n', stderr: '' });
  });

  test.each([
    ['pull', 'image pull'],
    ['images', 'image list'],
    ['rmi', 'image delete'],
    ['ps', 'task list'],
  ])('%s, as Docker has it, is told its name here', async (typed, meant) => {
    await startServer(() => noRoute);
    expect(await run([typed, 'alpine'])).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: `error: unknown command '${typed}'\n(Did you mean ${meant}?)\nRun with --help for the usage.\n`,
    });
  });

  test.each([
    [['task', 'logs', 'tsk_a'], 'logs', 'Did you mean task watch?'],
    [['--json', 'images'], 'images', 'Did you mean image list?'],
    [['image', '--timing', 'save', 'py'], 'save', 'Did you mean image export?'],
    [['serve', 'start'], 'start', 'Did you mean serve --detach?'],
    [['help', 'build'], 'build', 'Did you mean rootfs build?'],
    [['login', 'ghcr.io'], 'login', 'To a registry: image pull --auth user:token. To a server: setup.'],
  ])('%j is told what to use here', async (args, word, hint) => {
    await startServer(() => noRoute);
    expect(await run(args)).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: `error: unknown command '${word}'\n(${hint})\nRun with --help for the usage.\n`,
    });
  });

  test.each([
    [['image', 'list', '-o', 'json'], '-o'],
    [['task', 'list', '-ojson'], '-ojson'],
    [['image', 'inspect', 'py', '--format=json'], '--format=json'],
  ])('%j is told of --json', async (args, flag) => {
    await startServer(() => noRoute);
    expect(await run(args)).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: `error: unknown option '${flag}'\n(Did you mean --json?)\nRun with --help for the usage.\n`,
    });
  });

  test('a word that is no command cannot write to the terminal', async () => {
    await startServer(() => noRoute);
    expect((await run(['image', 'a\x1b[2Jb'])).stderr).toContain("error: unknown command 'a\\u001b[2Jb'\n");
  });

  test('what is told is there, and what it is told to is not', () => {
    const program = createProgram(createContext({ env: {}, console: processConsole, version: '0' }, () => undefined));
    for (const [typed, hint] of familiarWords) {
      const words = typed.split(' ').slice(1);
      expect([typed, positionOf(program, words).operands]).toEqual([typed, words.slice(-1)]);
      const [, meant] = /^Did you mean (.*)\?$/.exec(hint) ?? [];
      if (meant !== undefined) expect([meant, positionOf(program, meant.split(' ')).operands]).toEqual([meant, []]);
    }
  });

  test('image help COMMAND is its help', async () => {
    await startServer(() => noRoute);
    const { stdout } = await run(['image', 'help', 'rm']);
    expect(stdout).toContain('bhatti image delete <name...> [flags]');
    expect(await run(['help', 'image', 'delete'])).toMatchObject({ exitCode: 0, stdout });
  });

  test.each([
    ['a file', savedFile],
    ['stdin', () => '-'],
  ])('image import of %s without --tar says so', async (_what, source) => {
    await startServer(() => noRoute);
    const path = await source();
    const { exitCode, stderr } = await run(['image', 'import', path]);
    expect({ exitCode, calls: server?.calls }).toEqual({ exitCode: 1, calls: [] });
    expect(stderr).toContain(`To import it: bhatti image import --tar ${path}\n`);
  });

  test('a token with the line break of its file is taken without, one that cannot be sent is refused', async () => {
    await startServer(() => ({ status: 200, body: { images: [] } }));
    const tcp = await serveAnswers(() => ({ status: 200, body: { images: [] } }));
    const url = `http://127.0.0.1:${tcp.port}`;
    try {
      expect(await run(['image', 'ls', '-q', '--url', url], { BHATTI_TOKEN: 'bht_x\r\n' })).toMatchObject({
        exitCode: 0,
      });
      expect(tcp.calls.at(-1)?.headers.authorization).toBe('Bearer bht_x');
      const refused = await run(['image', 'ls', '--url', url], { BHATTI_TOKEN: 'bht_ü' });
      expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('that no token has') });
      expect(refused.stderr).not.toContain('ü');
    } finally {
      await tcp.close();
    }
  });

  test('image share, unshare and prune', async () => {
    const pruned = { freed_bytes: 2_500_000, layers: 3, rootfs: 1, downloads: 0 };
    await startServer(({ method }) => ({ status: 200, body: method === 'POST' ? pruned : plainImage }));
    expect((await run(['image', 'share', 'py', '--owner', 'ann'])).stdout).toBe('shared py with everybody\n');
    expect((await run(['image', 'unshare', 'py'])).stdout).toBe("py is its owner's alone\n");
    const refused = await run(['image', 'prune']);
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('Add -y') });
    expect((await run(['image', 'prune', '--dry-run'])).stdout).toBe(
      'would free 3 MB (layers: 3, root filesystems: 1, downloads: 0)\n',
    );
    expect((await run(['image', 'prune', '-y'])).stdout).toMatch(/^freed /);
    const calls = server?.calls.filter(({ url }) => url.pathname !== '/health');
    expect(calls?.map(({ method, url, body }) => [method, url.pathname + url.search, body])).toEqual([
      ['PUT', '/images/py/share?owner=ann', ''],
      ['DELETE', '/images/py/share', ''],
      ['POST', '/images/prune', '{"dry_run":true}'],
      ['POST', '/images/prune', '{"dry_run":false}'],
    ]);
  });

  test('task show and cancel', async () => {
    await startServer(({ method }) => ({ status: method === 'DELETE' ? 202 : 200, body: view('running', lines) }));
    expect((await run(['task', 'show', 'tsk_abc123'])).stdout).toBe(
      `id         tsk_abc123
type       pull
status     running
name       python-3.12
ref        python:3.12
progress   flattening to ext4...
created    2026-01-01T00:00:00.000Z
`,
    );
    expect(JSON.parse((await run(['task', 'show', 'tsk_abc123', '--json'])).stdout)).toEqual(view('running', lines));
    expect((await run(['task', 'cancel', 'tsk_abc123'])).stdout).toBe('cancelling tsk_abc123\n');
  });

  test('task watch prints what the pull would have printed, also when it is over', async () => {
    await startServer(pullWith([view('queued', []), view('running', lines.slice(0, 1)), completed]));
    expect(await run(['task', 'watch', 'tsk_abc123'])).toEqual({ exitCode: 0, stdout: TRANSCRIPT, stderr: '' });
    expect(await run(['task', 'watch', 'tsk_abc123'])).toEqual({ exitCode: 0, stdout: TRANSCRIPT, stderr: '' });
    const { exitCode, stdout } = await run(['task', 'watch', 'tsk_abc123', '--json']);
    expect({
      exitCode,
      tasks: stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    }).toEqual({
      exitCode: 0,
      tasks: [completed],
    });
  });

  test('task watch of a pull that fails ends with 1', async () => {
    const error = { code: 'unauthorized', message: 'refused' };
    await startServer(pullWith([view('running', []), view('failed', [], { error })]));
    const { exitCode, stderr } = await run(['task', 'watch', 'tsk_abc123']);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('error: refused (unauthorized)\nThis image may require authentication.\n');
    expect(stderr).toContain('  docker pull python:3.12\n');
    expect(await run(['task', 'watch', 'tsk_abc123', '--json'])).toMatchObject({ exitCode: 1, stderr: '' });
  });

  test('image inspect', async () => {
    const image = {
      name: 'py',
      ref: 'docker.io/library/python:3.12',
      digest: 'sha256:1',
      platform: 'linux/amd64',
      size_bytes: 2_000_000_000,
      disk_bytes: 1_000_000_000,
      created_at: '2026-01-01T00:00:00.000Z',
      path: '/data/rootfs.ext4',
      warnings: ['no /bin/sh'],
      config: { entrypoint: [], cmd: ['python3'], user: '', workingDir: '/srv', env: ['A=1'] },
    };
    await startServer(() => ({ status: 200, body: image }));
    expect((await run(['image', 'inspect', 'py'])).stdout).toBe(
      `name       py
ref        docker.io/library/python:3.12
digest     sha256:1
platform   linux/amd64
size       2.0 GB (1.0 GB on disk)
created    2026-01-01T00:00:00.000Z
path       /data/rootfs.ext4
command    ["python3"]
directory  /srv
warning    no /bin/sh
`,
    );
    expect(server?.calls.at(-1)).toMatchObject({ method: 'GET', url: { pathname: '/images/py' } });
    expect(JSON.parse((await run(['image', 'inspect', 'py', '--json'])).stdout)).toEqual(image);
  });

  test('an error of the API says its code', async () => {
    await startServer(() => ({
      status: 404,
      body: { error: 'there is no such task', code: 'not_found', request_id: 'r' },
    }));
    expect(await run(['task', 'show', 'tsk_x'])).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'error: there is no such task (not_found)\n',
    });
  });

  test('--timing tells where the time went, on stderr', async () => {
    await startServer(() => ({ status: 200, body: { images: [] } }));
    const { stdout, stderr } = await run(['image', 'ls', '--timing']);
    expect(stdout).toBe('NAME  REF  SIZE  CREATED  DIGEST\n');
    expect(stderr).toMatch(/^timing: GET \/health 200 .*\ntiming: GET \/images 200 .*\ntiming: start .* total .*\n$/);
  });

  test('version, before and after the global flags', async () => {
    expect((await run(['version'])).stdout).toMatch(/^bhatti \S+\nserver \S+ .*\n$/);
    expect(JSON.parse((await run(['--json', 'version'])).stdout)).toMatchObject({ version: expect.any(String) });
    expect(JSON.parse((await run(['version', '--json'])).stdout)).toMatchObject({ version: expect.any(String) });
  });
});

describe('the server in use', () => {
  test('a URL and a token from the config file, with the path of the URL', async () => {
    await startServer(() => queued);
    const remote = await serveAnswers(() => ({ status: 200, body: { images: [] } }));
    const config = join(dataDirectory, 'config.yaml');
    await writeFile(config, `url: http://127.0.0.1:${remote.port}/bhatti/\ntoken: bht_file\n`);
    expect(await run(['image', 'list', '--json'], { BHATTI_CONFIG: config, BHATTI_TOKEN: 'bht_env' })).toMatchObject({
      exitCode: 0,
    });
    expect(remote.calls.map(({ url, headers }) => [url.pathname, headers.authorization])).toEqual([
      ['/bhatti/images', 'Bearer bht_file'],
    ]);
    expect(server?.calls).toEqual([]);
    await remote.close();
  });

  test('a token that is refused', async () => {
    await startServer(() => queued);
    const remote = await serveAnswers(() => ({ status: 401, body: { error: 'no', code: 'unauthorized' } }));
    const at = ['--url', `http://127.0.0.1:${remote.port}`, '--token', 'wrong'];
    const { exitCode, stderr } = await run(['image', 'list', ...at]);
    expect(exitCode).toBe(1);
    expect(stderr).toBe(`error: the server at http://127.0.0.1:${remote.port} does not accept the token (unauthorized)
Write it down with "bhatti setup", or give it as BHATTI_TOKEN; "bhatti serve status" on the server shows it.
`);
    await remote.close();
  });

  test('one that does not answer', async () => {
    await startServer(() => queued);
    const remote = await serveAnswers(() => health);
    await remote.close();
    const { exitCode, stderr } = await run(['image', 'list', '--url', `http://127.0.0.1:${remote.port}`]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`error: no bhatti server answers at http://127.0.0.1:${remote.port} (ECONNREFUSED)\n`);
  });

  test('one that is no bhatti server', async () => {
    await startServer(() => queued);
    const remote = await serveAnswers(() => ({ status: 200, body: { hello: 'world' } }));
    const { exitCode, stderr } = await run(['image', 'list', '--url', `http://127.0.0.1:${remote.port}`]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('answers, but not as a bhatti server does (not_bhatti)');
    await remote.close();
  });

  test('one on another host that shares the data directory: no second one is started beside it', async () => {
    await startServer(() => noRoute);
    // What an API of another host leaves on a network file system: a record, and a socket that answers nobody here.
    await server?.close();
    server = undefined;
    await writeFile(join(dataDirectory, 'run/api.json'), JSON.stringify({ host: 'storage-2', pid: 1, listen: null }));
    // Whatever this host's clock says: only that of the file system counts.
    const hour = 3600_000;
    const clock = jest.spyOn(Date, 'now').mockImplementation(() => performance.timeOrigin + performance.now() + hour);
    expect(await run(['image', 'list']).finally(() => clock.mockRestore())).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: `error: an API on the host storage-2 uses this data directory (other_host)
Use its URL (--url, or "bhatti setup"). If it is gone for good, "bhatti serve --detach" starts a server here.
`,
    });
    expect(await readdir(join(dataDirectory, 'run'))).toEqual(['api.json']);
  });

  test('a data directory too deep for a unix socket', async () => {
    await startServer(() => queued);
    const { exitCode, stderr } = await run(['image', 'list', '--data-dir', `/tmp/${'deep/'.repeat(25)}`]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('too long for unix sockets');
  });
});

describe('a process', () => {
  const refused: Answer = { status: 404, body: { error: 'there is no such task', code: 'not_found', request_id: 'r' } };

  test.each([
    ['does what it is told', 0, ['image', 'list']],
    ['shows help', 0, ['image', 'pull', '--help']],
    ['is called wrongly', 1, ['image', 'lst']],
    ['is told what makes no sense', 1, ['image', 'list', '--url', 'nonsense']],
    ['is refused by the server', 1, ['task', 'show', 'tsk_x']],
    ['reaches nobody', 1, ['image', 'list', '--url', 'http://127.0.0.1:1']],
  ])('that %s ends with %d, and writes what the command line does here', async (_what, code, args) => {
    await startServer(({ url }) => (url.pathname === '/images' ? { status: 200, body: { images: [] } } : refused));
    const here = await run(args);
    expect(here).toMatchObject({ exitCode: code, [code === 0 ? 'stderr' : 'stdout']: '' });
    expect(await start(args).ended).toEqual(here);
  });
});
