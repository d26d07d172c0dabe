import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { chmod, lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer as createTlsServer, type Server } from 'node:https';
import { createServer as createTcpServer } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { makeCertificates } from '../../../libs/oci/test/support/certificate.ts';
import { createContext } from '../commands/context.ts';
import { isGroup, notesOf } from '../commands/notes.ts';
import { createProgram } from '../program.ts';
import { closest } from '../suggestion.ts';
import { runHere } from './command-line.ts';
import { type Answer, type Handler, serveAnswers } from './http-server.ts';
import { recordedConsole } from './recorded-console.ts';
import { cleanEnvironment, stageCli } from './staged-cli.ts';

/** What the CLI prints when something goes wrong: each error, with what to do next. */
let staged: Awaited<ReturnType<typeof stageCli>>;
let directory: string;
let url = '';
let count = 0;
let close = async () => {};
beforeAll(async () => {
  staged = await stageCli();
});
afterAll(() => staged.remove());
afterEach(async () => {
  await close();
  close = async () => {};
});

async function makeDirectory() {
  count += 1;
  directory = staged.dataDirectory(`errors${count}`);
  await mkdir(directory);
}

async function startServer(handler: Handler) {
  await makeDirectory();
  const server = await serveAnswers(handler);
  close = server.close;
  url = `http://127.0.0.1:${server.port}`;
  return server;
}

const environment = (extra: NodeJS.ProcessEnv = {}) =>
  cleanEnvironment(directory, { BHATTI_URL: url, BHATTI_TOKEN: 'bht_x', ...extra });

const run = (args: readonly string[], env?: NodeJS.ProcessEnv) => runHere(args, { env: environment(env), directory });

/** Runs a command that must fail with 1 and nothing on stdout. Resolves with stderr. */
async function failing(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
  const { exitCode, stdout, stderr } = await run(args, env);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  return stderr;
}

const noImages: Answer = { status: 200, body: { images: [] } };
const list = ['image', 'list'];

describe('a server that is not there, or another one', () => {
  test.each([
    [
      '127.0.0.1:8080',
      'is not a valid http:// or https:// URL (invalid_request)\nDid you mean http://127.0.0.1:8080?\n',
    ],
    [
      'ann:secret@host:80',
      'URL "host:80" is not a valid http:// or https:// URL (invalid_request)\nDid you mean http://host:80?\n',
    ],
    [
      '/run/api.sock',
      'error: the server URL "/run/api.sock" is not a valid http:// or https:// URL (invalid_request)\n',
    ],
    [
      'http://ann:se/cr et@host',
      'the server URL "http://host" is not a valid http:// or https:// URL (invalid_request)\n',
    ],
    ['ftp://ann:secret@host', 'the server URL "ftp://host" is not a valid http:// or https:// URL (invalid_request)\n'],
    ['http://no-host.invalid', 'error: the name of http://no-host.invalid is not known (E'],
  ])('%s', async (wrong, message) => {
    await makeDirectory();
    const stderr = await failing([...list, '--url', wrong]);
    expect(stderr).toContain(message);
    // No guess where the message gives no clue.
    if (!message.includes('Did you mean')) expect(stderr).not.toContain('Did you mean');
  });

  test.each<[string, Answer]>([
    ['a page', { status: 200, body: '<html>hello</html>', type: 'text/html' }],
    ['no such page', { status: 404, body: '<html>not found</html>', type: 'text/html' }],
    ['no such page, as JSON', { status: 404, body: { status: 404, error: 'Not Found', path: '/images' } }],
    ['something else', { status: 200, body: { hello: 'world' } }],
  ])('%s at a wrong port', async (_what, answer) => {
    await startServer(() => answer);
    expect(await failing(list)).toBe(
      `error: ${url} answers, but not as a bhatti server does (not_bhatti)
Check the URL, and that client and server are of about the same version (bhatti version).
`,
    );
  });

  test.each([
    ['', 'It is older than this bhatti ("bhatti version" shows both): update the server, or restart it if it is.'],
    ['/', 'It is older than this bhatti ("bhatti version" shows both): update the server, or restart it if it is.'],
    ['/api', 'Does "/api" belong in the URL? If it does, the server is older than this bhatti: update it.'],
  ])('one that has no such route below "%s"', async (path, hint) => {
    await startServer(() => ({ status: 404, body: { error: 'there is no such route', code: 'not_found' } }));
    const where = `${url}${path}`.replace(/\/$/, '');
    expect(await failing([...list, '--url', url + path])).toBe(
      `error: the server at ${where} cannot do this yet (server_too_old)\n${hint}\n`,
    );
  });

  test.each([
    list,
    ['image', 'delete', '-y', 'py'],
    ['image', 'export', 'py'],
    ['image', 'export', 'py', '-o', '-'],
    ['image', 'pull', 'py'],
    ['task', 'watch', 'tsk_a'],
    ['task', 'cancel', 'tsk_a'],
  ])('%s %s of what only redirects, or is a page, is not done', async (...command) => {
    const words = command.filter((word) => word !== undefined);
    await startServer(() => ({ status: 200, body: '<html>log in</html>', type: 'text/html' }));
    expect(await failing(words)).toContain('answers, but not as a bhatti server does (not_bhatti)\n');
    await close();
    await startServer(({ url: { pathname } }) => (response) => {
      response.writeHead(301, { location: `https://bhatti.test${pathname}?secret` }).end('<html>moved</html>');
    });
    expect(await failing(words)).toBe(
      `error: ${url} answers with a redirect to https://bhatti.test (not_bhatti)
If that is the server, use its URL: --url https://bhatti.test
`,
    );
    expect(await readdir(directory)).toEqual([]);
  });

  test.each([
    ['https://bhatti.test/sub/images', 'answers with a redirect to https://bhatti.test/sub (not_bhatti)\n'],
    ['https://bhatti.test/login', 'answers with a redirect to https://bhatti.test (not_bhatti)\n'],
    ['/sub/login', 'answers, but not as a bhatti server does (not_bhatti)\n'],
  ])('below a path, a redirect to %s', async (location, message) => {
    await startServer(() => (response) => {
      response.writeHead(302, { location }).end();
    });
    expect(await failing([...list, '--url', `${url}/sub/`])).toContain(`error: ${url}/sub ${message}`);
  });

  test('a port that speaks no HTTP, and one that hangs up', async () => {
    await makeDirectory();
    const greeting = createTcpServer((socket) => socket.end('220 mail.example ESMTP\r\n').on('error', () => {}));
    greeting.listen(0, '127.0.0.1');
    await once(greeting, 'listening');
    const address = greeting.address();
    const at = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    expect(await failing([...list, '--url', at])).toMatch(/does not speak HTTP \(HPE_.*\)\nCheck the port of the URL/);
    expect(await failing([...list, '--url', at.replace('http', 'https')])).toMatch(
      /does not speak TLS \(.*\)\nIs its URL http:\/\/ instead\?\n/,
    );
    greeting.close();
  });

  test('TLS: an authority of its own is told from a wrong scheme, and can be trusted', async () => {
    await makeDirectory();
    const { key, cert, authority } = await makeCertificates(directory);
    const server: Server = createTlsServer({ key, cert }, (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(noImages.body));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    close = async () => {
      server.closeAllConnections();
      server.close();
    };
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : '';
    expect(await failing([...list, '--url', `https://127.0.0.1:${port}`])).toMatch(
      /is not from a known authority \([A-Z_]+\)\nIf .* NODE_EXTRA_CA_CERTS=\/path\/ca\.pem\n/,
    );
    expect(await failing([...list, '--url', `http://127.0.0.1:${port}`])).toContain(
      'whether it is https:// instead.\n',
    );
    await writeFile(join(directory, 'ca.crt'), authority);
    const { exitCode, stderr } = await staged.run([...list, '--url', `https://127.0.0.1:${port}`, '--timing'], {
      env: environment({ NODE_EXTRA_CA_CERTS: join(directory, 'ca.crt') }),
    });
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/GET \/images 200 .* tls [1-9]/);
  });

  test('no token, a wrong one, and one that may not', async () => {
    await startServer(() => ({ status: 401, body: { error: 'no', code: 'unauthorized' } }));
    expect(await failing(list)).toContain(
      'does not accept the token (unauthorized)\nWrite it down with "bhatti setup"',
    );
    expect(await failing(list, { BHATTI_TOKEN: '' })).toContain('wants a token (unauthorized)\n');
    await close();
    await startServer(() => ({ status: 403, body: { error: 'the status is for admins', code: 'forbidden' } }));
    expect(await failing(['admin', 'status'])).toBe('error: the status is for admins (forbidden)\n');
  });
});

describe('a user without a home, and without a name', () => {
  test('is served all the same', async () => {
    await startServer(() => noImages);
    if (process.getuid?.() !== 0) throw new Error('this test becomes another user: run it as root');
    await chmod(dirname(directory), 0o711);
    const env = { PATH: process.env.PATH, BHATTI_URL: url };
    const child = spawn(process.execPath, [staged.cli, ...list], { cwd: '/', env, uid: 54_321, stdio: 'ignore' });
    expect(await once(child, 'close')).toEqual([0, null]);
  });
});

describe('another release', () => {
  const versioned =
    (version: string, answer: Answer): Handler =>
    () =>
    (response) => {
      response.writeHead(answer.status, { 'content-type': 'application/json', 'x-bhatti-version': version });
      response.end(JSON.stringify(answer.body));
    };

  test('is warned of once, whichever is older; a patch is not', async () => {
    const list = async (version: string) => {
      await startServer(versioned(version, noImages));
      const { stderr } = await runHere(['image', 'list'], { env: environment(), version: '1.4.0' });
      await close();
      return stderr;
    };
    expect(await list('1.3.9')).toBe(
      'warning: bhatti is 1.4.0 here and 1.3.9 at the server; update the server, or restart it if it is updated\n',
    );
    expect(await list('2.0.0')).toBe('warning: bhatti is 1.4.0 here and 2.0.0 at the server; update this program\n');
    expect(await list('1.4.7')).toBe('');
  });
});

describe('serve', () => {
  test.each(['8080', 'localhost', '*:8080', '::1:8080', 'http://127.0.0.1:8080', '127.0.0.1:65536'])(
    '--listen %s is refused before anything is started',
    async (address) => {
      await makeDirectory();
      expect(await failing(['serve', '--data-dir', directory, '--listen', address])).toContain(
        'It must be host:port, as 127.0.0.1:8080 (0.0.0.0:8080 for every address), or none.',
      );
    },
  );
});

describe('names', () => {
  const image = (name: string) => ({
    name,
    ref: 'r',
    digest: 'd',
    platform: 'p',
    size_bytes: 1,
    disk_bytes: 1,
    created_at: '',
  });

  test.each([
    ['image', 'inspect'],
    ['image', 'delete', '-y'],
    ['image', 'share'],
    ['image', 'export'],
  ])('%s %s of one that is not there names the one that was meant', async (...command) => {
    await startServer(({ url: { pathname } }) =>
      pathname === '/images'
        ? { status: 200, body: { images: [image('alpine-3.20'), image('python-3.12')] } }
        : { status: 404, body: { error: 'no image', code: 'not_found' } },
    );
    const words = command.filter((word) => word !== undefined);
    expect(await failing([...words, 'pyhton-3.12'])).toBe('error: no image (not_found)\nDid you mean "python-3.12"?\n');
    expect(await failing([...words, 'else'])).toBe('error: no image (not_found)\n');
    // It exists, but with another owner than the one named.
    expect(await failing([...words, 'python-3.12'])).toBe('error: no image (not_found)\n');
    expect(await failing([...words, ''])).toContain('the name of the image is empty (invalid_name)');
  });

  test('one that is being made is not there yet: the error names the task', async () => {
    const task = (id: string, type: string, status: string, name: string) => ({
      ...{ id, type, status, name, ref: 'r', progress: null, detail: null, result: null, error: null },
      ...{ created_at: null, started_at: null, completed_at: null },
    });
    const tasks = [
      task('tsk_a', 'pull', 'queued', 'python-3.12'),
      task('tsk_b', 'import', 'running', 'mine'),
      task('tsk_c', 'pull', 'failed', 'alpine-3.20'),
    ];
    await startServer(({ url: { pathname } }) => {
      if (pathname === '/tasks') return { status: 200, body: { tasks } };
      return pathname === '/images' ? noImages : { status: 404, body: { error: 'no image', code: 'not_found' } };
    });
    const inspected = async (name: string) => (await failing(['image', 'inspect', name])).split('\n')[1];
    expect(await inspected('python-3.12')).toBe('It is being pulled: bhatti task watch tsk_a');
    expect(await inspected('mine')).toBe('It is being imported: bhatti task watch tsk_b');
    expect(await inspected('alpine-3.20')).toBe('');
  });

  test('the closest is a few letters away, or goes on', () => {
    const names = ['alpine-3.20', 'alpine-3.19', 'node-22', 'x'];
    expect(closest('alpine', names)).toBe('alpine-3.20');
    expect(closest('Node-22', names)).toBe('node-22');
    expect(closest('ubuntu', names)).toBeUndefined();
    expect(closest('', names)).toBeUndefined();
    expect(closest('a'.repeat(100_000), names)).toBeUndefined();
  });

  test('commands that are misspelt', async () => {
    await makeDirectory();
    expect(await failing(['imgae', 'list'])).toContain("unknown command 'imgae'\n(Did you mean image?)\n");
    expect(await failing(['image', 'pul', 'x'])).toContain("unknown command 'pul'\n(Did you mean pull?)\n");
    expect(await failing(['image', 'pull', 'x', '--nmae', 'y'])).toContain('(Did you mean --name?)');
  });
});

describe('config files', () => {
  test.each([
    ['url: [', /is not understood: .* at line 1, column \d+ \(invalid_config\)\n/],
    ['url: 5', /is not understood: url must be text \(invalid_config\)\n/],
    ['just text', /is not understood: it must be lines such as "url: https:\/\/host" \(invalid_config\)\n/],
  ])('%j', async (text, message) => {
    await makeDirectory();
    await writeFile(join(directory, 'config.yaml'), text);
    expect(await failing(list, { BHATTI_CONFIG: join(directory, 'config.yaml') })).toMatch(message);
  });

  test('BHATTI_CONFIG that names none is an error, but for setup, which makes it', async () => {
    await startServer(() => noImages);
    const path = join(directory, 'new/config.yaml');
    expect(await failing(list, { BHATTI_CONFIG: path })).toContain('BHATTI_CONFIG names it: correct that');
    expect(await run(['setup'], { BHATTI_CONFIG: path })).toMatchObject({ exitCode: 0 });
    expect(await readFile(path, 'utf8')).toBe(`url: ${url}\ntoken: bht_x\n`);
    expect(await run(list, { BHATTI_CONFIG: path, BHATTI_URL: '' })).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('a token that others may read is warned of; without one nobody minds', async () => {
    const server = await startServer(() => noImages);
    await mkdir(join(directory, '.bhatti'));
    const path = join(directory, '.bhatti/config.yaml');
    await writeFile(path, `url: ${url}\ntoken: bht_y\n`);
    await chmod(path, 0o644);
    expect((await run(list)).stderr).toBe(
      `warning: other users may read the token in ${path}; keep it to yourself with: chmod 600 ${path}\n`,
    );
    // Warnings of YAML itself are not shown.
    await writeFile(path, `url: ${url}\nother: !tag x\n`);
    expect((await run(list)).stderr).toBe('');
    expect(server.calls.map(({ headers }) => headers.authorization)).toEqual(['Bearer bht_y', 'Bearer bht_x']);
  });
});

test('a token on the command line is warned of on a terminal', async () => {
  await startServer(() => noImages);
  const args = [...list, '--token', 'bht_secret'];
  expect(await runHere(args, { env: environment(), size: { columns: 80, rows: 24 } })).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^NAME/),
    stderr: expect.stringMatching(/^warning: a token on the command line stays in the history.*\n$/),
  });
  expect(await run(args)).toMatchObject({ exitCode: 0, stderr: '' });
});

describe('output', () => {
  test.each(['image list', 'image pull --help', '--version'])(
    'of %s that cannot be written is an error',
    async (words) => {
      await startServer(() => noImages);
      const command = `'${process.execPath}' '${staged.cli}' ${words} > /dev/full; echo $?`;
      const { stdout, stderr } = await promisify(execFile)('sh', ['-c', command], {
        env: cleanEnvironment(directory, { BHATTI_URL: url }),
      });
      expect({ stdout, stderr }).toEqual({
        stdout: '1\n',
        stderr: 'error: the output cannot be written (ENOSPC)\n',
      });
    },
  );

  test('with closed stdin, stdout or stderr, and readers that leave', async () => {
    await startServer(() => noImages);
    const env = cleanEnvironment(directory, { BHATTI_URL: url });
    const shell = async (script: string) =>
      (await promisify(execFile)('bash', ['--norc', '-c', script, 'bash', process.execPath, staged.cli], { env }))
        .stdout;
    expect(await shell('"$@" image list <&-; echo $?')).toBe('NAME  REF  SIZE  CREATED  DIGEST\n0\n');
    expect(await shell('"$@" image list >&-; echo $?')).toBe('0\n');
    expect(await shell('"$@" image list 2>&-; echo $?')).toContain('\n0\n');
    expect(await shell('set -o pipefail; "$@" image list | true; echo $?')).toBe('0\n');
    expect(await shell('set -o pipefail; "$@" image inspect "" 2>&1 >&- | true; echo $?')).toBe('1\n');
  });
});

test('a working directory that was removed is told, where it matters', async () => {
  await startServer(() => noImages);
  const gone = join(directory, 'gone');
  await mkdir(gone);
  const within = (words: string) =>
    promisify(execFile)(
      'sh',
      ['-c', `rmdir ../gone; "$0" "$1" ${words} 2>&1; mkdir "$OLD"`, process.execPath, staged.cli],
      {
        cwd: gone,
        env: cleanEnvironment(directory, { BHATTI_URL: url, OLD: gone }),
      },
    );
  expect((await within('image list')).stdout).toBe('NAME  REF  SIZE  CREATED  DIGEST\n');
  expect((await within('image export x')).stdout).toBe(
    'error: the folder that this was called in is not there any more (not_found)\nChange to another: cd\n',
  );
});

describe('image export', () => {
  test.each([
    ['missing/out.ext4', 'there is no directory'],
    ['/proc/out.ext4', 'cannot write /proc'],
  ])('to %s', async (output, message) => {
    await startServer(() => ({ status: 200, body: 'ext4', type: 'application/octet-stream' }));
    expect(await failing(['image', 'export', 'x', '--force', '-o', output])).toContain(message);
  });

  test('to what is no plain file, such as /dev/null, which --force must not replace', async () => {
    await startServer(() => ({ status: 200, body: 'ext4', type: 'application/octet-stream' }));
    // A fifo of the test's own: if this failed as root, the host would have lost its /dev/null.
    const output = join(directory, 'fifo');
    await promisify(execFile)('mkfifo', [output]);
    expect(await failing(['image', 'export', 'x', '--force', '-o', output])).toContain(
      'is no plain file; -o takes one, or - for stdout (invalid_request)',
    );
    expect((await lstat(output)).isFIFO()).toBe(true);
  });

  test('to a full disk keeps what has arrived, and goes on when there is room', async () => {
    await makeDirectory();
    const disk = join(directory, 'disk');
    await mkdir(disk);
    if (process.getuid?.() !== 0) throw new Error('this test mounts a small disk: run it as root');
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', disk]);
    try {
      const content = Buffer.alloc(3 * 1024 * 1024, 7);
      const ranges: (string | undefined)[] = [];
      const server = await serveAnswers(({ headers: { range } }) => (response) => {
        const from = range === undefined ? 0 : Number(/\d+/.exec(range)?.[0]);
        ranges.push(range);
        response.writeHead(range === undefined ? 200 : 206, {
          etag: '"e"',
          'content-type': 'application/octet-stream',
          'content-length': content.length - from,
        });
        response.end(content.subarray(from));
      });
      close = server.close;
      url = `http://127.0.0.1:${server.port}`;
      expect(await failing(['image', 'export', 'x', '-o', 'disk/x'])).toMatch(
        /the disk is full at .* \(ENOSPC\) \(disk_full\)\nMake room and run the same command again/,
      );
      await promisify(execFile)('mount', ['-o', 'remount,size=8m', disk]);
      expect(await run(['image', 'export', 'x', '-o', 'disk/x'])).toMatchObject({ exitCode: 0, stderr: '' });
      expect(content.equals(await readFile(join(disk, 'x')))).toBe(true);
      expect(ranges.at(-1)).toMatch(/^bytes=[1-9]\d+-$/);
    } finally {
      await promisify(execFile)('umount', [disk]);
    }
  });

  test('to stdout is the file, byte for byte', async () => {
    await startServer(() => (response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(Buffer.from([0, 27, 255]));
    });
    const file = createWriteStream(join(directory, 'out'));
    await once(file, 'open');
    const child = spawn(process.execPath, [staged.cli, 'image', 'export', 'x', '-o', '-'], {
      env: cleanEnvironment(directory, { BHATTI_URL: url }),
      stdio: ['ignore', file, 'inherit'],
    });
    expect((await once(child, 'close'))[0]).toBe(0);
    file.close();
    expect([...(await readFile(join(directory, 'out')))]).toEqual([0, 27, 255]);
  });
});

describe('help', () => {
  const { console, out } = recordedConsole();
  const program = createProgram(createContext({ env: {}, console, version: '0' }, () => {}));
  const leaves = program.commands
    .flatMap((command) => [command, ...command.commands])
    .filter((command) => !isGroup(command) && command.name() !== '__complete');

  test('every command has examples, which call it', () => {
    for (const command of leaves) {
      const { examples } = notesOf(command);
      expect({ command: command.name(), count: examples.length }).not.toMatchObject({ count: 0 });
      for (const example of examples) expect(example).toContain('bhatti ');
    }
    expect(out()).toBe('');
  });

  test('reads in sections; "help" and a group alone show it too', async () => {
    await makeDirectory();
    const { stdout } = await run(['image', 'pull', '--help']);
    expect(stdout.match(/^[A-Z ]+$/gm)).toEqual([
      'USAGE',
      'ARGUMENTS',
      'FLAGS',
      'GLOBAL FLAGS',
      'EXAMPLES',
      'EXIT CODES',
    ]);
    expect(await run(['help', 'image', 'pull'])).toEqual({ exitCode: 0, stdout, stderr: '' });
    for (const group of [[], ['image'], ['task']]) {
      expect((await run(group)).stdout).toContain(`LEARN MORE\n  ${['bhatti', ...group].join(' ')} <command> --help\n`);
    }
    expect(await failing(['help', 'imag'])).toContain('Did you mean image?');
  });
});
