/**
 * The whole program from outside: the built command line, the stack that it starts (Redis, API, worker), and a registry on
 * loopback, which holds up pulls where a test must not miss a moment.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as z from 'zod';
import { identifyProcess } from '../apps/cli/serve/process-identity.ts';
import { atMostStarting, type Bhatti, createBhatti, type RunningCommand } from './support/bhatti.ts';
import { fileLayer } from './support/layer.ts';
import { type LayerSource, type PushedImage, startRegistry, type TestRegistry } from './support/registry.ts';

/** With the directories of e2fsprogs, which the PATH of a plain user often lacks. */
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const execute = promisify(execFile);
const PASSWORD = 'correct-horse-battery-staple';
const NOBODY = 65534;
/** Saves time: by default an image has 512 MiB, all of which are hashed. The first test, and that of the sandbox, use the default. */
const small = ['--size', '16MiB'];
/** Nothing listens there, in case a bad request goes through. */
const nowhere = '127.0.0.1:1/library/demo';

const imageSchema = z.object({
  name: z.string(),
  ref: z.string(),
  digest: z.string(),
  path: z.string(),
  size_bytes: z.int(),
});

/** Tests are independent, but share the layers. */
let registry: TestRegistry;
let base: LayerSource;
beforeAll(async () => {
  registry = await startRegistry();
  // Random bytes do not compress: 2 MB stay 2 MB, so that a blob can be held up in the middle.
  base = await fileLayer({ 'bin/sh': '#!\n', 'etc/hello': 'hello\n', 'usr/lib/blob': randomBytes(2_000_000) });
});
afterAll(() => registry.close());

async function push(tag: string, files: Readonly<Record<string, string | Buffer>>): Promise<PushedImage> {
  return registry.pushImage({ repository: 'library/demo', tag, layers: [base, await fileLayer(files)] });
}

/** Digests of the layers whose blobs were requested after the first `since` requests. */
function layersAskedFor(image: PushedImage, since: number): string[] {
  const paths = registry.requests.slice(since).map(({ path }) => path);
  return image.layers.map(({ digest }) => digest).filter((digest) => paths.some((path) => path.endsWith(digest)));
}

async function images(bhatti: Bhatti): Promise<z.output<typeof imageSchema>[]> {
  const { stdout } = await bhatti.here(['image', 'list', '--json']);
  return z.object({ images: z.array(imageSchema) }).parse(JSON.parse(stdout)).images;
}

async function image(bhatti: Bhatti, name: string): Promise<z.output<typeof imageSchema>> {
  const found = (await images(bhatti)).find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no image ${name}`);
  return found;
}

async function contentOf(path: string, file: string): Promise<string> {
  return (await execute('debugfs', ['-R', `cat ${file}`, path], { env })).stdout;
}

/** Rejects unless e2fsck finds no error. */
async function expectClean(path: string): Promise<void> {
  await execute('e2fsck', ['-fn', path], { env });
}

function taskId(transcript: string): string {
  return /\(task: (tsk_[a-z2-7]{12})\)/.exec(transcript)?.[1] ?? '';
}

/** Holds up the first layer of the image in the middle, for every client, until it is released. */
function holdUp(held: PushedImage): { release: () => void } {
  registry.plan({ path: held.layers[0]?.digest ?? '', stallAfter: 1_000_000 });
  return {
    release: () => {
      registry.clearFaults();
      registry.dropConnections();
    },
  };
}

/** Starts a pull and resolves when it is in the middle of its download. */
async function startPull(bhatti: Bhatti, reference: string): Promise<RunningCommand> {
  const pull = bhatti.start(['image', 'pull', reference, ...small]);
  await pull.stdoutHas('downloading layers');
  return pull;
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

/** A zombie is not alive. */
function lives(pid: number): boolean {
  return identifyProcess(pid) !== undefined;
}

const resolving = '  resolving manifest\\.\\.\\.\\n';
const downloading = '(  downloading layers \\([\\d.]+ [kM]?B / 2 MB\\)\\.\\.\\.\\n)+';
const flattening = '  flattening to ext4\\.\\.\\.\\n';
const everyStep = resolving + downloading + flattening;

function transcript(reference: string, name: string, steps: string): RegExp {
  const first = `pulling ${literally(reference)} as "${literally(name)}" \\(task: tsk_[a-z2-7]{12}\\)\\n`;
  return new RegExp(`^${first}${steps}done\\n$`);
}

function literally(text: string): string {
  return text.replace(/[.+]/g, '\\$&');
}

describe('one stack', () => {
  let bhatti: Bhatti;
  beforeAll(async () => {
    bhatti = await createBhatti();
  });
  afterAll(() => bhatti.remove());

  test('a pull with nothing running: the transcript, an image that is listed, a file system without errors', async () => {
    const pushed = await push('1.0', { 'etc/version': 'one\n' });
    const { exitCode, stdout, stderr } = await bhatti.run(['image', 'pull', pushed.reference]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: expect.stringMatching(atMostStarting) });
    expect(stdout).toMatch(transcript(pushed.reference, 'demo-1.0', everyStep));
    const pulled = await image(bhatti, 'demo-1.0');
    expect(pulled).toMatchObject({ ref: pushed.reference, digest: pushed.digest });
    expect((await stat(pulled.path)).size).toBe(pulled.size_bytes);
    await expectClean(pulled.path);
    expect(await contentOf(pulled.path, '/etc/hello')).toBe('hello\n');
    const table = (await bhatti.run(['image', 'list'])).stdout.split('\n');
    expect(table[0]).toMatch(/^NAME +REF +SIZE +CREATED +DIGEST$/);
    expect(table[1]).toMatch(
      /^demo-1\.0 +127\.0\.0\.1:\d+\/library\/demo:1\.0 +\d+(\.\d)? [MG]B +just now +[0-9a-f]{12}$/,
    );
  });

  test('the same digest again: at once, by one HEAD request', async () => {
    const pushed = await push('again', {});
    await bhatti.run(['image', 'pull', pushed.reference, ...small]);
    const since = registry.requests.length;
    const again = await bhatti.run(['image', 'pull', pushed.reference, ...small]);
    expect(again).toEqual({
      exitCode: 0,
      stdout: `demo-again is already up to date (${pushed.digest})\ndone\n`,
      stderr: '',
    });
    const asked = registry.requests.slice(since).filter(({ path }) => path.startsWith('/v2/library/'));
    expect(asked.map(({ method }) => method)).toEqual(['HEAD']);
    const json = await bhatti.run(['image', 'pull', pushed.reference, ...small, '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({ status: 'exists', name: 'demo-again', digest: pushed.digest });
  });

  test('a tag that has moved: the name stands for the new image, of which only the new layer is fetched', async () => {
    const before = await push('moving', { 'etc/version': 'before\n' });
    await bhatti.run(['image', 'pull', before.reference, ...small]);
    const old = await image(bhatti, 'demo-moving');
    const after = await push('moving', { 'etc/version': 'after\n' });
    const since = registry.requests.length;
    const pull = await bhatti.run(['image', 'pull', after.reference, ...small]);
    expect(pull).toMatchObject({ exitCode: 0, stderr: '', stdout: expect.stringMatching(/\ndone\n$/) });
    expect(layersAskedFor(after, since)).toEqual([after.layers[1]?.digest]);
    const moved = await image(bhatti, 'demo-moving');
    expect(moved.digest).toBe(after.digest);
    expect(moved.digest).not.toBe(old.digest);
    expect(await contentOf(moved.path, '/etc/version')).toBe('after\n');
    await expectClean(moved.path);
  });

  test('another name for the same digest: no second build, no blob', async () => {
    const pushed = await push('shared', { 'etc/version': 'shared\n' });
    await bhatti.run(['image', 'pull', pushed.reference, ...small]);
    const since = registry.requests.length;
    const pull = await bhatti.run(['image', 'pull', pushed.reference, ...small, '--name', 'other']);
    expect(pull).toMatchObject({ exitCode: 0, stderr: '' });
    expect(pull.stdout).toMatch(transcript(pushed.reference, 'other', resolving));
    expect(layersAskedFor(pushed, since)).toEqual([]);
    const other = await image(bhatti, 'other');
    expect(other.path).toBe((await image(bhatti, 'demo-shared')).path);
    // The file stays as long as one name stands for it.
    expect(await bhatti.run(['image', 'delete', 'demo-shared', '-y'])).toMatchObject({ exitCode: 0 });
    await expectClean(other.path);
    expect((await images(bhatti)).map(({ name }) => name)).not.toContain('demo-shared');
  });

  test('Ctrl+C: the two lines, 130, and the pull completes on the server', async () => {
    const pushed = registry.pushImage({
      repository: 'library/slow',
      layers: [await fileLayer({ 'bin/sh': '', blob: randomBytes(2_000_000) })],
    });
    const held = holdUp(pushed);
    const pull = await startPull(bhatti, pushed.reference);
    pull.child.kill('SIGINT');
    const { exitCode, stdout } = await pull.outcome;
    expect(exitCode).toBe(130);
    expect(stdout).toMatch(/\nInterrupted\. Pull continues on server\.\nCheck status: bhatti image list\n$/);
    expect((await images(bhatti)).map(({ name }) => name)).not.toContain('slow-latest');
    expect((await bhatti.run(['image', 'inspect', 'slow-latest'])).stderr).toBe(
      `error: no image "slow-latest"; "bhatti image list" shows what there is (not_found)\nIt is being pulled: bhatti task watch ${taskId(stdout)}\n`,
    );
    const watch = bhatti.start(['task', 'watch', taskId(stdout)]);
    await watch.stdoutHas('downloading layers');
    held.release();
    const watched = await watch.outcome;
    expect(watched).toMatchObject({ exitCode: 0, stderr: '' });
    expect(watched.stdout).toMatch(transcript(pushed.reference, 'slow-latest', everyStep));
    await expectClean((await image(bhatti, 'slow-latest')).path);
  });

  test('a pull that is under way, asked for again, is the same task; cancelled, it says so', async () => {
    const pushed = registry.pushImage({
      repository: 'library/cancelled',
      layers: [await fileLayer({ 'bin/sh': '', blob: randomBytes(2_000_000) })],
    });
    const held = holdUp(pushed);
    const pull = await startPull(bhatti, pushed.reference);
    const again = await bhatti.run(['image', 'pull', pushed.reference, ...small, '--json']);
    const { task_id: id } = z.looseObject({ task_id: z.string() }).parse(JSON.parse(again.stdout));
    expect(await bhatti.run(['task', 'cancel', id])).toMatchObject({ exitCode: 0, stderr: '' });
    const { exitCode, stdout, stderr } = await pull.outcome;
    expect(taskId(stdout)).toBe(id);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: 'error: the pull was cancelled (cancelled)\n' });
    held.release();
  });

  test('a registry that refuses: the hint and exit code 1; with credentials the image', async () => {
    const closed = await startRegistry({ auth: { kind: 'basic', username: 'user', password: PASSWORD } });
    try {
      const { reference } = closed.pushImage({ repository: 'org/private', layers: [base] });
      const refused = await bhatti.run(['image', 'pull', reference, ...small]);
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toMatch(/^error: .+ \(unauthorized\)\n/);
      expect(refused.stderr).toContain(
        'This image may require authentication.\nPull it with Docker locally, then import:\n' +
          `  docker pull ${reference}\n  bhatti image import ${reference}\n`,
      );
      const credentials = `user:${PASSWORD}`;
      const ways = [
        { args: ['--auth', credentials, '--name', 'by-flag'] },
        { args: ['--auth', '-', '--name', 'by-stdin'], stdin: `${credentials}\n` },
        { args: ['--name', 'by-environment'], env: { BHATTI_REGISTRY_AUTH: credentials } },
      ];
      for (const { args, ...options } of ways) {
        expect(await bhatti.run(['image', 'pull', reference, ...small, ...args], options)).toMatchObject({
          exitCode: 0,
          stderr: '',
        });
      }
    } finally {
      await closed.close();
    }
  });

  test.each([
    [['image', 'pull', 'UPPER/Case'], /must be lowercase.*\(invalid_reference\)/],
    [['image', 'pull', `${nowhere}:`], /\(invalid_reference\)/],
    [['image', 'pull', nowhere, '--platform', 'linux/amd64/v2/v3'], /\(invalid_platform\)/],
    [['image', 'pull', nowhere, '--name', '-no'], /cannot be an image name.*\(invalid_name\)/],
    [['image', 'pull', nowhere, '--name', '../../etc'], /cannot be an image name.*\(invalid_name\)/],
    [['image', 'pull', nowhere, '--size', 'huge'], /is not a size.*\(invalid_request\)/],
    [['image', 'pull', nowhere, '--auth', 'nocolon'], /\(invalid_request\)/],
    [['image', 'delete', 'missing', '-y'], /no image "missing".*\(not_found\)/],
    [['task', 'show', 'tsk_aaaaaaaaaaaa'], /no task "tsk_aaaaaaaaaaaa";.*\(not_found\)/],
    [['task', 'cancel', '../health'], /no task "\.\.\/health";.*\(not_found\)/],
  ])('%j is refused with a reason', async (args, reason) => {
    const { exitCode, stdout, stderr } = await bhatti.here(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toMatch(reason);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  test.each([
    ['an unknown tag', (host: string) => `${host}/library/demo:nowhere`, 'manifest_unknown'],
    ['a platform that the image lacks', (host: string) => `${host}/library/demo:index`, 'platform_not_found'],
  ])('%s fails the task with a reason', async (_what, reference, code) => {
    const { descriptor } = await push('other-platform', {});
    registry.pushIndex('library/demo', 'index', [
      { ...descriptor, platform: { os: 'linux', architecture: 'riscv64' } },
    ]);
    const { exitCode, stdout, stderr } = await bhatti.run(['image', 'pull', reference(registry.host)]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: expect.stringMatching(new RegExp(`\\(${code}\\)\n$`)),
    });
    expect(stdout).not.toContain('done');
  });

  test('over TCP, with the URL and token of serve status', async () => {
    const { url, token } = await bhatti.status();
    const elsewhere = { env: { BHATTI_DATA_DIR: join(bhatti.dataDirectory, 'none') } };
    const list = await bhatti.run(['image', 'list', '--url', url, '--token', token], elsewhere);
    expect(list).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('demo-1.0') });
    const refused = await bhatti.run(['image', 'list', '--url', url, '--token', 'bht_wrong'], elsewhere);
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/token.*\(unauthorized\)\n/) });
  });

  test('serve stop: no process of the stack is alive, and no file is left that nothing owns', async () => {
    const { pid, children } = await bhatti.status();
    expect(await bhatti.run(['serve', 'stop'])).toEqual({ exitCode: 0, stdout: 'stopped\n', stderr: '' });
    expect([pid, ...children.map((child) => child.pid)].filter(lives)).toEqual([]);
    const owned = [
      /^images\/local\/[\w.-]+\.json$/,
      /^layers\/sha256\/[0-9a-f]{64}\/(data|index)$/,
      /^rootfs\/sha256\/[0-9a-f]{64}\/(rootfs\.ext4|image\.json)$/,
      /^redis\/(redis\.conf|appendonlydir\/appendonly\.aof\.[\w.]+|appendonly\.aof)$/,
      /^run\/serve\.log$/,
      /^(token|secret\.key)$/,
    ];
    const files = await filesBelow(bhatti.dataDirectory);
    expect(files.filter((file) => !owned.some((pattern) => pattern.test(file)))).toEqual([]);
  });
});

test('the whole stack killed in the middle of a pull: started again, it goes on from the bytes that it has', async () => {
  const bhatti = await createBhatti();
  try {
    const pushed = registry.pushImage({
      repository: 'library/killed',
      layers: [await fileLayer({ 'bin/sh': '', blob: randomBytes(2_000_000) })],
    });
    const held = holdUp(pushed);
    const pull = await startPull(bhatti, pushed.reference);
    const partial = join(bhatti.dataDirectory, 'partial', 'sha256');
    const hex = pushed.layers[0]?.digest.slice('sha256:'.length) ?? '';
    while ((await stat(join(partial, hex)).catch(() => ({ size: 0 }))).size < 1_000_000) await sleep(20);
    const { pid, children } = await bhatti.status();
    // The supervisor first, as it would restart the others.
    for (const victim of [pid, ...children.map((child) => child.pid)]) process.kill(victim, 'SIGKILL');
    const since = registry.requests.length;
    held.release();
    expect(await bhatti.run(['serve', '--detach'])).toMatchObject({ exitCode: 0 });
    // The watching command is still there, and sees the end.
    const { exitCode, stdout, stderr } = await pull.outcome;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: expect.stringMatching(atMostStarting) });
    expect(stdout).toMatch(transcript(pushed.reference, 'killed-latest', everyStep));
    const blobs = registry.requests.slice(since).filter(({ path }) => path.endsWith(hex));
    expect(blobs.map(({ range }) => range)).toEqual(['bytes=1000000-']);
    await expectClean((await image(bhatti, 'killed-latest')).path);
  } finally {
    await bhatti.remove();
  }
});

const asRoot = process.getuid?.() === 0;
/** Where the tests are not run as root, every other test shows this. */
(asRoot ? test : test.skip)(
  'an unprivileged user runs the stack and pulls, where nothing can be written but the data directory',
  async () => {
    const bhatti = await createBhatti({ user: NOBODY });
    try {
      const pushed = await push('unprivileged', {});
      const pull = await bhatti.run(['image', 'pull', pushed.reference]);
      expect(pull).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(atMostStarting) });
      const { pid, children } = await bhatti.status();
      for (const process of [pid, ...children.map((child) => child.pid)]) {
        const status = await readFile(`/proc/${process}/status`, 'utf8');
        expect(status).toContain(`\nUid:\t${NOBODY}\t${NOBODY}\t${NOBODY}\t`);
        for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
          expect(status).toContain(`\nCap${set}:\t0000000000000000\n`);
        expect(status).toContain('\nNoNewPrivs:\t1\n');
        expect(await readFile(`/proc/${process}/mountinfo`, 'utf8')).toMatch(/ \/ \/ ro[, ]/);
      }
      await expectClean((await image(bhatti, 'demo-unprivileged')).path);
    } finally {
      await bhatti.remove();
    }
  },
);
