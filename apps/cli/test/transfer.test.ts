import { execFile, spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { basename, dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { createContext } from '../commands/context.ts';
import { complete } from '../completion.ts';
import { createProgram } from '../program.ts';
import { versionMismatch } from '../server/version-match.ts';
import { resolveSettings } from '../settings.ts';
import { runHere } from './command-line.ts';
import { type Answer, type Handler, serveAnswers } from './http-server.ts';
import { recordedConsole } from './recorded-console.ts';
import { cleanEnvironment, stageCli } from './staged-cli.ts';

/** Command lines, against servers that answer by script: files, archives, set-up and completion. */
let staged: Awaited<ReturnType<typeof stageCli>>;
let server: Awaited<ReturnType<typeof serveAnswers>> | undefined;
let files: Server | undefined;
let directory: string;
let count = 0;
let url: string;

beforeAll(async () => {
  staged = await stageCli();
});
afterAll(() => staged.remove());
afterEach(async () => {
  await server?.close();
  server = undefined;
  files?.closeAllConnections();
  files?.close();
  files = undefined;
});

async function makeDirectory() {
  count += 1;
  directory = staged.dataDirectory(`transfer${count}`);
  await mkdir(directory);
}

async function startServer(handler: Handler) {
  await makeDirectory();
  server = await serveAnswers(handler);
  url = `http://127.0.0.1:${server.port}`;
}

const surroundings = (env: NodeJS.ProcessEnv = {}) => ({
  env: cleanEnvironment(directory, { BHATTI_URL: url, ...env }),
  directory,
});

const run = (args: readonly string[], { env }: { env?: NodeJS.ProcessEnv } = {}) => runHere(args, surroundings(env));

/** Runs a process with that on its stdin. */
function runWith(stdin: string, args: readonly string[]) {
  const { child, ended } = staged.start(args, surroundings());
  child.stdin.end(stdin);
  return ended;
}

const accepted: Answer = { status: 202, body: { task_id: 'tsk_abc123', status: 'queued', name: 'app' } };

/** Puts a program in front of the PATH. */
async function program(name: string, script: string): Promise<NodeJS.ProcessEnv> {
  const bin = join(directory, 'bin');
  await mkdir(bin, { recursive: true });
  await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(bin, name), 0o755);
  return { PATH: `${bin}:/bin` };
}

describe('image import', () => {
  test('a file, stdin, and what docker save writes are sent as they are', async () => {
    await startServer(() => accepted);
    await writeFile(join(directory, 'image.tar'), 'an archive');
    const said = 'importing image.tar as "app" (task: tsk_abc123)\nFollow it: bhatti task watch tsk_abc123\n';
    expect(await run(['image', 'import', '--tar', 'image.tar', '--name', 'app', '-d'])).toEqual({
      exitCode: 0,
      stdout: said,
      stderr: '',
    });
    await runWith('from stdin', ['image', 'import', '--tar', '-', '--name', 'app', '--json']);
    // Without a name the server takes that of the archive, and says it.
    expect((await run(['image', 'import', '--tar', 'image.tar', '-d'])).stdout).toBe(said);
    await run(['image', 'import', '--tar', 'image.tar', '--ref', 'org/app:2', '-d']);
    const env = await program('docker', 'echo "$@"');
    await run(['image', 'import', 'org/app:1', '--size', '2GB', '-q', '-d'], { env });
    // By the length of a file, the server refuses one that it has no room for before it is sent.
    expect(server?.calls.map(({ headers }) => headers['content-length'])).toEqual([
      '10',
      undefined,
      '10',
      '10',
      undefined,
    ]);
    expect(
      server?.calls.map(({ method, url: { pathname, search }, body }) => [method, pathname + search, body]),
    ).toEqual([
      ['POST', '/images/import?name=app', 'an archive'],
      ['POST', '/images/import?name=app', 'from stdin'],
      ['POST', '/images/import', 'an archive'],
      ['POST', '/images/import?ref=org%2Fapp%3A2', 'an archive'],
      ['POST', '/images/import?ref=org%2Fapp%3A1&size=2GB', 'save org/app:1\n'],
    ]);
  });

  test('a connection that breaks while the archive is sent is told as that', async () => {
    await startServer(() => accepted);
    files = createServer((request) => request.once('data', () => request.destroy()));
    files.listen(0, '127.0.0.1');
    await once(files, 'listening');
    const address = files.address();
    const at = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    await writeFile(join(directory, 'image.tar'), '');
    await truncate(join(directory, 'image.tar'), 50_000_000);
    const { exitCode, stderr } = await run(['image', 'import', '--tar', 'image.tar', '--name', 'app', '--url', at]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^error: the connection to http:.* broke while the archive was sent \((ECONNRESET|EPIPE)\)\nRun the/,
    );
  });

  test('a file that becomes shorter while it is sent is not sent as if it were whole', async () => {
    await startServer(() => accepted);
    const archive = join(directory, 'image.tar');
    files = createServer((request) => {
      request.once('data', () => {
        request.pause();
        void truncate(archive, 0).then(() => request.resume());
      });
    });
    files.listen(0, '127.0.0.1');
    await once(files, 'listening');
    const address = files.address();
    const at = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    await writeFile(archive, '');
    await truncate(archive, 50_000_000);
    expect(await run(['image', 'import', '--tar', 'image.tar', '--name', 'app', '--url', at])).toEqual({
      exitCode: 1,
      stdout: '',
      stderr:
        'error: image.tar became shorter while it was sent: nothing is imported (import_failed)\n' +
        'Does something still write it? Run the command again once it is whole.\n',
    });
  });

  test('Ctrl+C says whether the server can have taken the import', async () => {
    await makeDirectory();
    let child: ReturnType<typeof staged.start>['child'] | undefined;
    files = createServer((request) => {
      const interrupt = () => child?.kill('SIGINT');
      if (request.url?.endsWith('cut')) request.once('data', interrupt);
      else request.resume().once('end', interrupt);
    });
    files.listen(0, '127.0.0.1');
    await once(files, 'listening');
    const address = files.address();
    url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;

    const interrupted = async (name: string, send: (stdin: Writable) => void) => {
      const started = staged.start(['image', 'import', '--tar', '-', '--name', name], surroundings());
      child = started.child;
      send(child.stdin);
      return started.ended;
    };
    const ended = (stderr: string) => ({ exitCode: 130, stdout: '', stderr });
    expect(await interrupted('cut', (stdin) => stdin.write('the beginning'))).toEqual(
      ended('Interrupted. The archive was not sent whole: nothing is imported.\n'),
    );
    expect(await interrupted('whole', (stdin) => stdin.end('all of it'))).toEqual(
      ended('Interrupted. The import may have been queued.\nCheck: bhatti task list\n'),
    );
  });

  test('an OCI layout directory is sent as a tar; any other directory is refused', async () => {
    await startServer(() => accepted);
    await mkdir(join(directory, 'layout', 'blobs', 'sha256'), { recursive: true });
    await writeFile(join(directory, 'layout', 'index.json'), '{}');
    const refused = await run(['image', 'import', '--tar', 'layout', '--name', 'app', '-d']);
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('no OCI layout') });
    expect(refused.stderr).toContain('skopeo copy docker://IMAGE oci:layout leaves it');
    await mkdir(join(directory, 'dir'));
    await writeFile(join(directory, 'dir', 'manifest.json'), '{}');
    const directoryOfSkopeo = await run(['image', 'import', '--tar', 'dir', '--name', 'app', '-d']);
    expect(directoryOfSkopeo.stderr).toContain('as dir: skopeo copy dir:dir oci:LAYOUT && bhatti');
    await writeFile(join(directory, 'layout', 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    await writeFile(join(directory, 'layout', 'blobs', 'sha256', 'abc'), 'x'.repeat(100_000));
    expect(await run(['image', 'import', '--tar', 'layout', '--name', 'app', '-q', '-d'])).toMatchObject({
      exitCode: 0,
      stdout: 'app\n',
    });
    expect(server?.calls).toHaveLength(1);
    const listed = spawnSync('tar', ['-tv'], { input: server?.calls[0]?.body, encoding: 'utf8' });
    expect(
      listed.stdout
        .trim()
        .split('\n')
        .map((line) => line.replace(/ .* /, ' ')),
    ).toEqual(['-rw-r--r-- blobs/sha256/abc', '-rw-r--r-- index.json', '-rw-r--r-- oci-layout']);
    const blob = spawnSync('tar', ['-xO', 'blobs/sha256/abc'], { input: server?.calls[0]?.body, encoding: 'utf8' });
    expect(blob.stdout).toBe('x'.repeat(100_000));
  });

  test('an image that is saved by its id has no name in the archive that could be asked for', async () => {
    await startServer(() => accepted);
    const env = await program('docker', 'echo "$@"');
    for (const id of ['96f5e158b8aa', `sha256:${'a'.repeat(64)}`, 'b'.repeat(64)]) {
      expect(await run(['image', 'import', id, '--name', 'app', '-q', '-d'], { env })).toMatchObject({ exitCode: 0 });
      expect(server?.calls.at(-1)).toMatchObject({ url: { search: '?name=app' }, body: `save ${id}\n` });
    }
  });

  test('an image that is saved by its digest has no name there either, but the one of the reference here', async () => {
    await startServer(() => accepted);
    const env = await program('docker', 'echo "$@"');
    const reference = `org/app:1@sha256:${'a'.repeat(64)}`;
    expect(await run(['image', 'import', reference, '-q', '-d'], { env })).toMatchObject({ exitCode: 0 });
    const asked = () => Object.fromEntries(server?.calls.at(-1)?.url.searchParams ?? []);
    expect(server?.calls.at(-1)?.body).toBe(`save ${reference}\n`);
    expect(asked()).toEqual({ origin: reference });
    await run(['image', 'import', reference, '--name', 'mine', '-q', '-d'], { env });
    expect(asked()).toEqual({ origin: reference, name: 'mine' });
  });

  test('podman where there is no docker; neither is an error that says what to do', async () => {
    await startServer(() => accepted);
    await program('podman', 'echo "$@"');
    // Nothing else: a docker of this machine would be found first.
    const env = { PATH: join(directory, 'bin') };
    expect((await run(['image', 'import', 'app:1', '-q', '-d'], { env })).stdout).toBe('app\n');
    expect(server?.calls[0]?.body).toBe('save --format docker-archive app:1\n');
    const none = await run(['image', 'import', 'app:1'], { env: { PATH: join(directory, 'nothing') } });
    expect(none).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('(docker_missing)\nSave it where') });
  });

  test('an image that docker does not have costs the server nothing', async () => {
    await startServer(() => accepted);
    const env = await program('docker', 'echo "No such image: nope:1" >&2; exit 1');
    expect(await run(['image', 'import', 'nope:1'], { env })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr:
        'error: docker save nope:1 failed: No such image: nope:1 (import_failed)\nIs the image there? docker pull nope:1\n',
    });
    expect(server?.calls).toEqual([]);
  });

  test('a docker that cannot be run is told', async () => {
    await startServer(() => accepted);
    const env = await program('docker', '');
    await chmod(join(directory, 'bin', 'docker'), 0o644);
    expect(await run(['image', 'import', 'app:1'], { env })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'error: cannot run docker (EACCES) (import_failed)\n',
    });
    expect(server?.calls).toEqual([]);
  });

  test('docker that fails half-way fails the import', async () => {
    await startServer(() => accepted);
    const env = await program('docker', 'echo half; sleep 0.3; echo "daemon died" >&2; exit 1');
    const { exitCode, stderr } = await run(['image', 'import', 'app:1'], { env });
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('daemon died') });
  });

  test.each([
    [['image', 'import'], 'either a Docker image or --tar is needed'],
    [['image', 'import', 'app', '--tar', 'x'], 'either a Docker image or --tar is needed'],
    [['image', 'import', 'app', '--ref', 'app:1'], '--ref says which image of an archive is meant'],
    [['image', 'import', ''], '"" is not an image reference'],
    [['image', 'import', '--', '--output=x'], '"--output=x" is not an image reference'],
    [['image', 'import', '--tar', 'missing.tar', '--name', 'x'], 'cannot read the archive missing.tar (ENOENT)'],
    [['image', 'import', '--tar', 'oci:layout:v1'], 'To import it: bhatti image import --tar layout --ref v1'],
  ])('%p is refused', async (args, message) => {
    await startServer(() => accepted);
    const { exitCode, stderr } = await run(args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining(message) });
    expect(server?.calls).toEqual([]);
  });

  test('an older server is told from a wrong name', async () => {
    await startServer(() => ({
      status: 405,
      body: { error: 'POST is not possible here', code: 'method_not_allowed' },
    }));
    await writeFile(join(directory, 'image.tar'), 'x');
    const { exitCode, stderr } = await run(['image', 'import', '--tar', 'image.tar', '--name', 'x']);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: expect.stringContaining('(server_too_old)\nIt is older'),
    });
  });
});

describe('image export', () => {
  const block = randomBytes(4096);
  const hole = 2 * 1024 * 1024;
  const content = Buffer.concat([block, Buffer.alloc(hole), block, Buffer.alloc(1024 * 1024)]);
  const sha256 = createHash('sha256').update(content).digest('hex');

  /** Serves the file, and parts of it; the first `breaks` answers end after 64 KiB over the middle block. */
  async function serveFile(breaks = 0, etag = `"${sha256}"`, hasLength = true, sendsParts = true) {
    await makeDirectory();
    const ranges: (string | undefined)[] = [];
    let left = breaks;
    files = createServer((request, response) => {
      ranges.push(request.headers.range);
      const range = sendsParts ? request.headers.range : undefined;
      const from = range === undefined ? 0 : Number(/\d+/.exec(range)?.[0]);
      response.writeHead(range === undefined ? 200 : 206, {
        etag,
        'content-type': 'application/octet-stream',
        ...(hasLength && { 'content-length': content.length - from }),
      });
      const body = content.subarray(from);
      if (left-- <= 0) response.end(body);
      else response.write(body.subarray(0, hole + 64 * 1024), () => setTimeout(() => response.destroy(), 50));
    });
    files.listen(0, '127.0.0.1');
    await once(files, 'listening');
    const address = files.address();
    url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    return ranges;
  }

  test('the file is exact, its holes are holes, and it is not overwritten', async () => {
    await serveFile();
    expect(await run(['image', 'export', 'py'])).toEqual({
      exitCode: 0,
      stdout: 'exported py to py.ext4 (3 MB)\n',
      stderr: '',
    });
    const path = join(directory, 'py.ext4');
    expect(content.equals(await readFile(path))).toBe(true);
    expect((await stat(path)).blocks * 512).toBeLessThan(64 * 1024);
    const again = await run(['image', 'export', 'py']);
    expect(again).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('(exists)\nAdd --force') });
    expect((await run(['image', 'export', 'py', '--force', '--json'])).exitCode).toBe(0);
    expect(await readdir(dirname(path))).toEqual(['py.ext4']);
  });

  test('the file may have the longest name that there is, and a longer one is refused by its own name', async () => {
    const ranges = await serveFile(1);
    const longest = 'ü'.repeat(127).concat('x');
    expect(await run(['image', 'export', 'py', '-o', longest])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(ranges.at(-1)).toMatch(/^bytes=2\d{6}-$/);
    expect(await readdir(directory)).toEqual([longest]);
    const longer = await run(['image', 'export', 'py', '-o', `${longest}x`]);
    expect(longer.stderr).toContain(`error: cannot write ${join(directory, longest)}x (ENAMETOOLONG) (not_writable)\n`);
  });

  test('a connection that breaks is taken up where it broke', async () => {
    const ranges = await serveFile(1);
    expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
    expect(ranges.at(-1)).toMatch(/^bytes=2\d{6}-$/);
    expect(await readdir(directory)).toEqual(['out']);
  });

  test('a server that restarts meanwhile is asked until it answers', async () => {
    let asked = 0;
    await startServer(({ headers }) => (response) => {
      asked += 1;
      // It ends in the middle, answers nothing, has a gateway answer for it, and is back.
      if (asked === 2) return void response.destroy();
      if (asked === 3) return void response.writeHead(502, { 'content-type': 'text/html' }).end('bad gateway');
      const from = Number(/\d+/.exec(headers.range ?? '')?.[0] ?? 0);
      response.writeHead(headers.range === undefined ? 200 : 206, {
        etag: `"${sha256}"`,
        'content-type': 'application/octet-stream',
        'content-length': content.length - from,
      });
      if (asked > 1) return void response.end(content.subarray(from));
      response.write(content.subarray(0, hole + 64 * 1024), () => setTimeout(() => response.destroy(), 50));
    });
    expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
  });

  test('a connection that breaks on the way to stdout is told as that', async () => {
    await serveFile(1);
    const { ended } = staged.start(['image', 'export', 'py', '-o', '-'], surroundings());
    expect(await ended).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/^error: the connection .* is not whole \(server_unreachable\)\nDiscard it .*\n$/),
    });
  });

  test('an error of the server that breaks off is told as a connection that does', async () => {
    await startServer(() => (response) => {
      response.writeHead(500, { 'content-type': 'application/json' });
      response.write('{"error":', () => response.destroy());
    });
    const { exitCode, stderr } = await run(['image', 'export', 'py', '-o', 'out']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining('(ECONNRESET)\n') });
  });

  test('a server that comes back without the image is not waited for', async () => {
    let asked = 0;
    await startServer(() => {
      asked += 1;
      if (asked > 1) return { status: 404, body: { error: 'no image "py"', code: 'not_found' } };
      return (response) => {
        response.writeHead(200, {
          etag: `"${sha256}"`,
          'content-type': 'application/octet-stream',
          'content-length': 9,
        });
        response.write('x', () => response.destroy());
      };
    });
    const { exitCode, stderr } = await run(['image', 'export', 'py', '-o', 'out']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: 'error: no image "py" (not_found)\n' });
  });

  test('a connection that breaks, through what sends no parts, is not asked for ever', async () => {
    const ranges = await serveFile(1, undefined, undefined, false);
    expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/the rest of py does not come: each time the whole file is sent.*-o -\./s),
    });
    // The first, that which broke counted, and then each time the whole to see what it is, and the rest.
    expect(ranges.filter((range) => range !== undefined)).toHaveLength(4);
    // It stays for when there is another way.
    expect(await readdir(directory)).toEqual([`.out.${sha256.slice(0, 16)}.partial`]);
  });

  test('one that was interrupted while it was checked is checked again, and no byte is asked for', async () => {
    const ranges = await serveFile();
    await writeFile(join(directory, `.out.${sha256.slice(0, 16)}.partial`), content);
    expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(ranges).toEqual([undefined]);
    expect(await readdir(directory)).toEqual(['out']);
  });

  test('what was left of an image that is another by now goes, and nothing else', async () => {
    await serveFile();
    const others = [
      '.out.partial',
      '.out.aaaa.partial',
      '.out.b.aaaaaaaaaaaaaaaa.partial',
      '.outer.aaaaaaaaaaaaaaaa.partial',
    ];
    for (const name of ['.out.aaaaaaaaaaaaaaaa.partial', '.out..partial', ...others]) {
      await writeFile(join(directory, name), 'left');
    }
    expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await readdir(directory)).sort()).toEqual([...others, 'out'].sort());
  });

  describe('what was left of one that began before the SHA-256 was taken', () => {
    const ofBuild = 'b'.repeat(42);
    const partial = () => join(directory, `.out.${ofBuild}-.partial`);

    /**
     * Serves the file under its SHA-256, and goes on with what began under the other tag where that `holds`: then what is sent whole does not
     * come to an end, and who waits for it waits for ever.
     */
    async function serveDigested(holds: boolean) {
      await startServer(({ headers }) => (response) => {
        const known = [`"${sha256}"`, ...(holds ? [`"${ofBuild}-"`] : [])];
        const from = known.includes(String(headers['if-range'])) ? Number(/\d+/.exec(headers.range ?? '')?.[0]) : 0;
        const isPart = headers.range !== undefined && known.includes(String(headers['if-range']));
        response.writeHead(isPart ? 206 : 200, {
          etag: `"${sha256}"`,
          'content-type': 'application/octet-stream',
          'content-length': content.length - from,
        });
        if (isPart || !holds) return void response.end(content.subarray(from));
        const trickle = setInterval(() => response.write('.'), 50);
        response.once('close', () => clearInterval(trickle));
      });
      await writeFile(partial(), content.subarray(0, 5000));
    }
    const ranges = () => server?.calls.map(({ headers }) => headers.range);

    test('is gone on with', async () => {
      await serveDigested(true);
      expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
      expect(ranges()).toEqual([undefined, 'bytes=0-', undefined, 'bytes=5000-']);
      expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
      expect(await readdir(directory)).toEqual(['out']);
    });

    test('is nothing where the image was built anew since', async () => {
      await serveDigested(false);
      await writeFile(partial(), 'other bytes');
      expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
      expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
      expect(await readdir(directory)).toEqual(['out']);
    });
  });

  test('a reference in place of the name is told as that, and a folder as no file', async () => {
    const message = 'no image "ghcr.io/org/py": images go by their names here';
    await startServer(() => ({ status: 404, body: { error: message, code: 'not_found' } }));
    expect((await run(['image', 'export', 'ghcr.io/org/py'])).stderr).toBe(`error: ${message} (not_found)\n`);
    expect((await run(['image', 'export', 'py', '-o', 'there/'])).stderr).toBe(
      'error: there/ is a directory; -o takes a file (invalid_request)\n',
    );
  });

  test('what stands in a partial file that nothing vouches for does not show through', async () => {
    await serveFile(0, '');
    await writeFile(join(directory, '.out..partial'), Buffer.alloc(content.length, 7));
    expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
  });

  test('a partial file that is longer than the file is begun anew', async () => {
    await serveFile();
    await writeFile(join(directory, `.out.${sha256.slice(0, 16)}.partial`), Buffer.alloc(content.length + 1, 7));
    expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
  });

  test('a limit on the size of files is told as that', async () => {
    await serveFile();
    const { env, directory: cwd } = surroundings();
    const limited = [
      '-c',
      'ulimit -f 8; exec "$0" "$@"',
      process.execPath,
      staged.cli,
      'image',
      'export',
      'py',
      '-o',
      'out',
    ];
    const failed = await promisify(execFile)('bash', limited, { env, cwd }).catch((error: unknown) => error);
    expect(failed).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /^error: cannot write .*partial \(EFBIG\) \(not_writable\)\nA file may not be that large/,
      ),
    });
  });

  test('a proxy on the way that leaves the length out is no hindrance', async () => {
    await serveFile(1, undefined, false);
    expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({
      exitCode: 0,
      stdout: 'exported py to out (3 MB)\n',
      stderr: '',
    });
    expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
    expect(await readdir(directory)).toEqual(['out']);
  });

  describe('two at once to one file', () => {
    /** The first answer stops half-way until it is told to go on. */
    async function serveSlowly() {
      await makeDirectory();
      let goOn = () => {};
      const told = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      let answers = 0;
      server = await serveAnswers(({ headers }) => async (response) => {
        answers += 1;
        const from = Number(/\d+/.exec(headers.range ?? '')?.[0] ?? 0);
        response.writeHead(from === 0 ? 200 : 206, {
          etag: `"${sha256}"`,
          'content-type': 'application/octet-stream',
          'content-length': content.length - from,
        });
        const half = from === 0 ? hole + 512 * 1024 : from;
        if (from === 0) response.write(content.subarray(0, half));
        if (answers === 1) await told;
        response.end(content.subarray(half));
      });
      url = `http://127.0.0.1:${server.port}`;
      const { child, ended } = staged.start(['image', 'export', 'py', '-o', 'out'], surroundings());
      const partial = join(directory, `.out.${sha256.slice(0, 16)}.partial`);
      await eventually(async () => ((await stat(partial).catch(() => undefined))?.size ?? 0) > hole);
      return { child, ended, goOn };
    }

    test('the second is refused, and the first is not disturbed', async () => {
      const first = await serveSlowly();
      expect(await run(['image', 'export', 'py', '-o', 'out', '--force'])).toEqual({
        exitCode: 1,
        stdout: '',
        stderr: expect.stringMatching(
          new RegExp(
            `^error: another export writes \\S+/out \\(pid ${first.child.pid} on .+\\) \\(already_running\\)\n`,
          ),
        ),
      });
      expect((await run(['image', 'export', 'py', '-o', 'other'])).exitCode).toBe(0);
      first.goOn();
      expect(await first.ended).toMatchObject({ exitCode: 0 });
      expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
      expect((await readdir(directory)).sort()).toEqual(['other', 'out']);
    });

    test('the second goes on with what one has left that was killed', async () => {
      const first = await serveSlowly();
      first.child.kill('SIGKILL');
      await first.ended;
      first.goOn();
      expect(await run(['image', 'export', 'py', '-o', 'out'])).toMatchObject({ exitCode: 0, stderr: '' });
      expect(content.equals(await readFile(join(directory, 'out')))).toBe(true);
      expect(await readdir(directory)).toEqual(['out']);
      expect(server?.calls.at(-1)?.headers.range).toMatch(/^bytes=2\d{6}-$/);
    });
  });

  test('what was left and is damaged is found, and not kept', async () => {
    await serveFile();
    const damaged = Buffer.from(content.subarray(0, hole + 4096 + 1));
    damaged[0] = (damaged[0] ?? 0) ^ 1;
    await writeFile(join(directory, `.out.${sha256.slice(0, 16)}.partial`), damaged);
    const { exitCode, stderr } = await run(['image', 'export', 'py', '-o', 'out']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining('(digest_mismatch)') });
    expect(await readdir(directory)).toEqual([]);
  });

  test('bytes that are not what the server has are not kept', async () => {
    await serveFile(0, `"${'0'.repeat(64)}"`);
    const { exitCode, stderr } = await run(['image', 'export', 'py']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining('(digest_mismatch)') });
    expect(await readdir(directory)).toEqual([]);
  });
});

describe('task list and admin status', () => {
  const task = (id: string, status: string) => ({
    id,
    type: 'pull',
    status,
    name: 'py',
    ref: 'python',
    progress: 'resolving manifest...',
    detail: null,
    result: null,
    error: status === 'failed' ? { code: 'manifest_unknown', message: 'none' } : null,
    created_at: new Date().toISOString(),
    started_at: null,
    completed_at: null,
  });

  test('reads page after page', async () => {
    await startServer(({ url: { searchParams } }) => ({
      status: 200,
      body: searchParams.has('cursor')
        ? { tasks: [task('tsk_2', 'failed')], next: null }
        : { tasks: [task('tsk_1', 'running')], next: 'c1' },
    }));
    expect((await run(['task', 'list', '--limit', '5'])).stdout).toBe(
      `ID     TYPE  STATUS   NAME  CREATED   LAST
tsk_1  pull  running  py    just now  resolving manifest...
tsk_2  pull  failed   py    just now  manifest_unknown
`,
    );
    expect(server?.calls.map((call) => call.url.search)).toEqual(['?limit=5', '?limit=4&cursor=c1']);
    expect((await run(['task', 'ls', '--status', 'nope'])).stderr).toContain('Allowed choices are queued');
  });

  test('admin status', async () => {
    const disk = { free_bytes: 83_147_890_688 };
    const redis = { version: '7', memory_used_bytes: 2_498_480, memory_limit_bytes: 0 };
    const body = { version: '1', queue: { waiting: 2 }, workers: [], disk, redis };
    await startServer(() => ({ status: 200, body }));
    expect((await run(['admin', 'status'])).stdout).toBe(
      `version    1
queue      waiting 2
disk       free 83.1 GB
redis      version 7, memory used 2 MB, memory limit none
worker     none: pulls wait until one is started
`,
    );
    expect(JSON.parse((await run(['admin', 'status', '--json'])).stdout)).toEqual(body);
  });
});

describe('setup', () => {
  test('tries the server, then writes a file for its owner only, and keeps what stands there', async () => {
    await startServer(({ headers }) =>
      headers.authorization === 'Bearer bht_good'
        ? { status: 200, body: { images: [] } }
        : { status: 401, body: { error: 'no' } },
    );
    await mkdir(join(directory, '.bhatti'));
    const path = join(directory, '.bhatti/config.yaml');
    await writeFile(path, '# mine\ndata_dir: /srv\nurl: http://old\n');
    expect((await run(['setup'], { env: { BHATTI_TOKEN: 'bht_bad' } })).exitCode).toBe(1);
    expect(await readFile(path, 'utf8')).toBe('# mine\ndata_dir: /srv\nurl: http://old\n');
    expect((await run(['setup'], { env: { BHATTI_TOKEN: 'bht_good' } })).stdout).toBe(
      `${url} accepts the token; written to ${path}\n`,
    );
    expect(await readFile(path, 'utf8')).toBe(`# mine\ndata_dir: /srv\nurl: ${url}\ntoken: bht_good\n`);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(dirname(path))).toEqual(['config.yaml']);
    expect(await run(['setup'])).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('as BHATTI_TOKEN') });
  });

  test('what one that was killed was writing is removed, also beside the file that the config file links to', async () => {
    await startServer(() => ({ status: 401, body: { error: 'no' } }));
    await mkdir(join(directory, '.bhatti'));
    const kept = join(directory, 'dotfiles/bhatti.yaml');
    await mkdir(dirname(kept));
    await writeFile(kept, '');
    await symlink(kept, join(directory, '.bhatti/config.yaml'));
    const ended = spawn(process.execPath, ['--version']);
    await once(ended, 'exit');
    const [dead, old, living] = [`${kept}.${ended.pid}.tmp`, `${kept}.1.tmp`, `${kept}.${process.pid}.tmp`];
    for (const path of [dead, old, living, `${kept}.tmp`, `${kept}.x.tmp`])
      await writeFile(path, 'token: bht_secret\n');
    await utimes(old, new Date(0), new Date(0));
    expect(await run(['setup'], { env: { BHATTI_TOKEN: 'bht_bad' } })).toMatchObject({ exitCode: 1 });
    const left = [kept, living, `${kept}.tmp`, `${kept}.x.tmp`].map((path) => basename(path));
    expect((await readdir(dirname(kept))).sort()).toEqual(left.sort());
  });

  test('a config file that is a link stays one, and a token comes without the end of its line', async () => {
    await startServer(({ headers }) => ({
      status: headers.authorization === 'Bearer bht_good' ? 200 : 401,
      body: { images: [] },
    }));
    await mkdir(join(directory, '.bhatti'));
    const [kept, path] = [join(directory, 'dotfile.yaml'), join(directory, '.bhatti/config.yaml')];
    await writeFile(kept, 'data_dir: /srv\n');
    await symlink(kept, path);
    expect(await run(['setup'], { env: { BHATTI_TOKEN: 'bht_good\r\n' } })).toMatchObject({ exitCode: 0 });
    expect(await readlink(path)).toBe(kept);
    expect(await readFile(kept, 'utf8')).toBe(`data_dir: /srv\nurl: ${url}\ntoken: bht_good\n`);
  });
});

describe('version and completion', () => {
  test('names the server; only other releases are worth a warning', async () => {
    await startServer(() => ({ status: 200, body: { status: 'ok', version: '9.1.0', redis: 'ok' } }));
    expect((await run(['version'])).stdout).toMatch(/^bhatti \S+\nserver 9\.1\.0 \(http:.*\)\n$/);
    expect(versionMismatch('0.1.0', '0.1.7')).toBeUndefined();
    expect(versionMismatch('0.2.0', '0.1.7')).toContain('update the server');
    expect(versionMismatch('0.9.0', '1.0.0')).toContain('update this program');
  });

  test('commands, flags, choices, and names from a running server', async () => {
    await startServer(() => ({ status: 200, body: { images: [] } }));
    const { console } = recordedConsole();
    const tree = createProgram(createContext({ env: {}, console, version: '0' }, () => {}));
    const settings = async () => resolveSettings({ dataDir: directory }, {}, {});
    const at = (...words: string[]) => complete(tree, words, settings);
    expect(await at('ima')).toEqual(['image']);
    expect(await at('image', 'p')).toEqual(['pull', 'prune']);
    expect(await at('--json', 'image', 'pull', '--pl')).toEqual(['--platform']);
    expect(await at('task', 'list', '--status', 'f')).toEqual(['failed']);
    expect(await at('completion', '')).toEqual(['bash', 'zsh', 'fish']);
    // Nothing runs, and nothing is started for this.
    expect(await at('image', 'inspect', '')).toEqual([]);
    expect(await at('__')).toEqual([]);
    const image = { name: 'py', ref: 'r', digest: 'd', platform: 'p', size_bytes: 1, disk_bytes: 1, created_at: '' };
    await server?.close();
    await startServer(() => ({ status: 200, body: { images: [image] } }));
    expect((await run(['__complete', '--', 'image', 'delete', 'p'])).stdout).toBe('py\n');
  });

  test('bash completes with the script', async () => {
    await startServer(() => ({ status: 200, body: { images: [] } }));
    const { stdout } = await run(['completion', 'bash']);
    const env = await program('bhatti', `exec ${process.execPath} ${staged.cli} "$@"`);
    const script = `${stdout}\nCOMP_WORDS=(bhatti image exp) COMP_CWORD=2\n_bhatti\nprintf '%s\\n' "\${COMPREPLY[@]}"`;
    const bash = spawn('bash', ['--norc', '-c', script], {
      env: { ...cleanEnvironment(directory), ...env },
      stdio: 'pipe',
    });
    let text = '';
    bash.stdout.on('data', (data) => {
      text += data;
    });
    await once(bash, 'close');
    expect(text).toBe('export\n');
  });
});
