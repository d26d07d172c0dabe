import { mkdir } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Call, events, type Handler, serveAnswers } from './http-server.ts';
import { type PseudoTerminal, startInTerminal, type TerminalSize } from './pseudo-terminal.ts';
import { recordedConsole } from './recorded-console.ts';
import { cleanEnvironment, stageCli } from './staged-cli.ts';

/** What people see: the CLI in a real terminal, with a server that sends each state when the test says so. */
let staged: Awaited<ReturnType<typeof stageCli>>;
let close = async () => {};
let count = 0;
let url = '';
beforeAll(async () => {
  staged = await stageCli();
});
afterAll(() => staged.remove());
afterEach(() => close());

async function run(args: readonly string[], handler: Handler, size: TerminalSize, env: NodeJS.ProcessEnv = {}) {
  return runProgram([process.execPath, staged.cli, ...args], handler, size, env);
}

async function runProgram(
  command: readonly string[],
  handler: Handler,
  size: TerminalSize,
  env: NodeJS.ProcessEnv = {},
) {
  const server = await serveAnswers(handler);
  url = `http://127.0.0.1:${server.port}`;
  count += 1;
  const directory = staged.dataDirectory(`terminal${count}`);
  await mkdir(directory, { recursive: true });
  const terminal = await startInTerminal(command, {
    directory,
    env: {
      ...cleanEnvironment(directory, { BHATTI_URL: url, BHATTI_TOKEN: 't' }),
      ...env,
    },
    ...size,
  });
  close = async () => {
    terminal.child.kill('SIGKILL');
    await terminal.ended;
    await server.close();
  };
  return terminal;
}

interface Layer {
  readonly digest: string;
  readonly downloadedBytes: number;
  readonly totalBytes: number;
}
const layers = (...megabytes: readonly number[]): Layer[] =>
  megabytes.map((downloaded, index) => ({
    digest: `sha256:${String(index).padStart(2, '0').repeat(32)}`,
    downloadedBytes: downloaded * 1e6,
    totalBytes: 20e6,
  }));

const lines = {
  resolving: 'resolving manifest...',
  downloading: 'downloading layers (30 MB / 142 MB)...',
  flattening: 'flattening to ext4...',
};

function state(status: string, phases: readonly (keyof typeof lines)[], layer: readonly Layer[] = [], more = {}) {
  const steps = phases.map((phase) => ({ phase, line: lines[phase] }));
  const bytes = { downloadedBytes: 30e6, totalBytes: 142e6, layers: layer };
  return {
    id: 'tsk_abc123',
    type: 'pull',
    status,
    name: 'python-3.12',
    ref: 'python:3.12',
    progress: steps.at(-1)?.line ?? null,
    detail: steps.length === 0 ? null : { steps, ...(phases.at(-1) === 'downloading' && bytes) },
    result: null,
    error: null,
    created_at: null,
    started_at: null,
    completed_at: null,
    ...more,
  };
}
const result = { image: 'python-3.12', digest: 'sha256:1', warnings: [] };
const completed = state('completed', ['resolving', 'downloading', 'flattening'], [], { result });

/** A pull whose states come from the test: each `say` is one event. */
function told() {
  const waiting: unknown[] = [];
  let wake = () => {};
  async function* states() {
    for (;;) {
      yield* waiting.splice(0);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  return {
    say: (task: unknown) => {
      waiting.push(task);
      wake();
    },
    handler: (call: Call) =>
      call.method === 'POST'
        ? { status: 202, body: { task_id: 'tsk_abc123', status: 'queued', name: 'python-3.12' } }
        : events(states()),
  };
}

const FIRST = 'pulling python:3.12 as "python-3.12" (task: tsk_abc123)';
const TRANSCRIPT = `${FIRST}
  resolving manifest...
  downloading layers (30 MB / 142 MB)...
  flattening to ext4...
done`;
const pull = ['image', 'pull', 'python:3.12'];
const usual = { columns: 80, rows: 24 };

/** Expects nothing that outlives the program: no hidden cursor, no alternate screen, no colours. */
function expectPlain(terminal: PseudoTerminal) {
  const sequences = terminal.raw().split('\x1b').slice(1);
  expect(sequences.filter((sequence) => !/^\[(\d+A|J)/.test(sequence))).toEqual([]);
}

describe('image pull on a terminal', () => {
  test('draws a line a layer and collapses to the documented lines', async () => {
    const { say, handler } = told();
    const terminal = await run(pull, handler, usual);
    say(state('queued', []));
    expect(await terminal.shows(/worker/)).toBe(`${FIRST}\n  waiting for a worker...`);
    say(state('running', ['resolving']));
    expect(await terminal.shows(/resolving/)).toBe(`${FIRST}\n  resolving manifest...`);
    say(state('running', ['resolving', 'downloading'], layers(20, 10, 0)));
    expect(await terminal.shows(/0202.*\n?/)).toBe(`${FIRST}
  resolving manifest...
  downloading layers (30 MB / 142 MB)...
  000000000000  [=========================]  20 MB / 20 MB    done
  010101010101  [============>            ]  10 MB / 20 MB
  020202020202  [>                        ]  0 B / 20 MB      waiting`);
    say(state('running', ['resolving', 'downloading', 'flattening']));
    expect(await terminal.shows(/flattening/)).toBe(TRANSCRIPT.replace('\ndone', ''));
    say(completed);
    expect(await terminal.ended).toBe(0);
    expect(await terminal.text()).toBe(TRANSCRIPT);
    expectPlain(terminal);
  });

  test('60 layers on 24 rows of 20 columns, and other sizes while it runs', async () => {
    const { say, handler } = told();
    const terminal = await run(pull, handler, { columns: 20, rows: 24 });
    const many = layers(...Array.from({ length: 60 }, (_, index) => (index < 30 ? 10 : 0)));
    say(state('running', ['resolving', 'downloading'], many));
    const small = await terminal.shows(/and 39 more/);
    expect(small.split('\n').slice(0, 4)).toEqual([
      FIRST,
      '  resolving manifest...',
      '  30 MB / 142 MB',
      '  000000000000 50%',
    ]);
    expect(small.split('\n').filter((line) => / 50%$/.test(line))).toHaveLength(21);

    await terminal.resize({ columns: 80, rows: 10 });
    await terminal.shows(/and 53 more: 23 downloading, 30 waiting/);
    const wide = (await terminal.screen()).split('\n');
    expect(wide).toHaveLength(9);
    // The rate is known where more than 0.8 s have passed.
    expect(wide[0]).toMatch(/^ {2}downloading layers \(30 MB \/ 142 MB\)\.\.\.(?: {2}0 B\/s)?$/);

    // Terminals keep what has scrolled off the screen above it.
    await terminal.resize({ columns: 30, rows: 10 });
    await terminal.shows(/ {2}060606060606 {2}10 MB .*\n {2}and 53 more: 23 downloading$/);
    const narrow = (await terminal.screen()).split('\n');
    expect(narrow).toHaveLength(9);
    expect(narrow.slice(0, 2)).toEqual(['  30 MB / 142 MB', '  000000000000  10 MB / 20 MB']);
    say(completed);
    expect(await terminal.ended).toBe(0);
    expect((await terminal.text()).split('\n').slice(-3)).toEqual(TRANSCRIPT.split('\n').slice(-3));
    expectPlain(terminal);
  });

  test('Ctrl+C detaches, whatever is drawn', async () => {
    const { say, handler } = told();
    const terminal = await run(pull, handler, usual);
    say(state('running', ['resolving', 'downloading'], layers(20, 10)));
    await terminal.shows(/0101/);
    terminal.type('\x03');
    expect(await terminal.ended).toBe(130);
    expect(await terminal.text()).toBe(`${FIRST}
  resolving manifest...
  downloading layers (30 MB / 142 MB)...
^C
Interrupted. Pull continues on server.
Check status: bhatti image list`);
    expectPlain(terminal);
  });

  test('a failure, and a server that is lost for good, leave the lines that were reached', async () => {
    const { say, handler } = told();
    const terminal = await run(pull, handler, usual);
    say(state('running', ['resolving', 'downloading'], layers(20, 10)));
    const error = { code: 'no_space', message: 'the disk is full' };
    say(state('failed', ['resolving', 'downloading'], layers(20, 10), { error }));
    expect(await terminal.ended).toBe(1);
    const reached = `${FIRST}\n  resolving manifest...\n  downloading layers (30 MB / 142 MB)...\n`;
    expect(await terminal.text()).toBe(`${reached}error: the disk is full (no_space)`);
    expectPlain(terminal);
    await close();

    const broken = told();
    const other = await run(pull, (call) => (polled(call) ? { status: 401, body: {} } : broken.handler(call)), usual);
    broken.say(state('running', ['resolving', 'downloading'], layers(20, 10)));
    await other.shows(/0101/);
    broken.say({ no: 'task' });
    expect(await other.ended).toBe(1);
    expect(await other.text()).toContain(`${reached}error: the server at`);
  });

  test.each([
    ['TERM', 'dumb'],
    ['CI', 'true'],
  ])('with %s=%s it prints lines, as to a pipe', async (name, value) => {
    const { say, handler } = told();
    const terminal = await run(pull, handler, usual, { [name]: value });
    say(state('running', ['resolving', 'downloading'], layers(20, 10)));
    say(completed);
    expect(await terminal.ended).toBe(0);
    expect(terminal.raw().replaceAll('\r', '')).toBe(`${TRANSCRIPT}\n`);
  });

  test('names and answers cannot write to the terminal', async () => {
    const { say, handler } = told();
    const terminal = await run(['image', 'pull', 'a\x1b[2Jb\u202e'], handler, usual);
    const evil = '\x1b]0;title\x07\x1b[1;1H\u009b2J';
    const step = { phase: 'resolving', line: evil };
    say(state('running', [], [], { progress: evil, detail: { steps: [step] } }));
    await terminal.shows(/001b\]0/);
    say(state('failed', [], [], { error: { code: 'x', message: `bad ${evil}` } }));
    expect(await terminal.ended).toBe(1);
    expectPlain(terminal);
    expect(await terminal.text()).toContain('error: bad \\u001b]0;title\\u0007\\u001b[1;1H\\u009b2J (x)');
  });
});

describe('questions', () => {
  const noImages = { status: 200, body: { images: [] } };

  test('image delete asks, and takes no for an answer', async () => {
    let deleted = 0;
    const handler: Handler = ({ method }) => {
      if (method === 'DELETE') deleted += 1;
      return { status: 204, body: null };
    };
    for (const [answer, code, said] of [
      ['n\r', 1, 'not deleted'],
      ['\r', 1, 'not deleted'],
      ['yes\r', 0, 'deleted py'],
    ] as const) {
      const terminal = await run(['image', 'delete', 'py'], handler, usual);
      await terminal.shows(/^Delete image py\? \[y\/N\]$/);
      terminal.type(answer);
      expect(await terminal.ended).toBe(code);
      expect((await terminal.text()).split('\n').at(-1)).toBe(said);
      await close();
    }
    expect(deleted).toBe(1);
  });

  test('setup asks for the URL and, without showing it, for the token', async () => {
    const terminal = await run(['setup'], () => noImages, usual, { BHATTI_TOKEN: '' });
    expect(await terminal.shows(/token.*:$/)).toBe('API token (not shown):');
    terminal.type('bht_secret\r');
    expect(await terminal.ended).toBe(0);
    expect(await terminal.text()).toMatch(
      /^API token \(not shown\): \nhttp:.* accepts the token; written to .*\/\.bhatti\/config\.yaml$/,
    );
    expect(terminal.raw()).not.toContain('secret');
    await close();

    const asked = await run(['setup'], () => noImages, usual, { BHATTI_URL: '', BHATTI_TOKEN: 't' });
    await asked.shows(/^Server URL \[http:\/\/localhost:8080\]:$/);
    asked.type(`${url}\r`);
    expect(await asked.ended).toBe(0);
    expect(await asked.text()).toContain(`${url} accepts the token`);
  });

  test('image pull asks for the credentials of the registry without showing them', async () => {
    const sent: string[] = [];
    const exists = { status: 200, body: { status: 'exists', image: 'app-1', digest: 'sha256:1' } };
    const handler: Handler = ({ body }) => {
      sent.push(body);
      return exists;
    };
    const terminal = await run(['image', 'pull', 'ghcr.io/org/app:1', '--auth', '-'], handler, usual);
    await terminal.shows(/^Credentials for the registry, user:token \(not shown\):$/);
    terminal.type('me:secret\r');
    expect(await terminal.ended).toBe(0);
    expect(sent).toEqual([JSON.stringify({ ref: 'ghcr.io/org/app:1', auth: 'me:secret' })]);
    expect(terminal.raw()).not.toContain('secret');
  });

  test.each([
    ['image delete py', '', /^Delete image py\? \[y\/N\]$/m, 'n', 'not deleted'],
    ['setup', 'BHATTI_TOKEN= ', /^API token \(not shown\):$/m, 'bht_secret', 'accepts the token'],
  ])('%s goes on asking after Ctrl+Z and fg', async (command, env, question, answer, outcome) => {
    const shell = await runProgram(['bash', '--norc', '-i'], () => noImages, usual, { PS1: 'shell> ' });
    await shell.shows(/shell>/);
    shell.type(`${env}'${process.execPath}' '${staged.cli}' ${command}\r`);
    await shell.shows(question);
    shell.type('\x1a');
    await shell.shows(/Stopped/);
    shell.type('fg\r');
    await shell.shows(new RegExp(`Stopped.*${question.source}`, 'ms'));
    shell.type(`${answer}\r`);
    const text = await shell.shows(new RegExp(`${outcome}.*shell>$`, 's'));
    expect(text).not.toContain('bht_secret');
  });

  test('Ctrl+C at a question leaves the next prompt a line of its own, and deletes nothing', async () => {
    const methods: string[] = [];
    const handler: Handler = ({ method }) => {
      methods.push(method);
      return noImages;
    };
    const shell = await runProgram(['bash', '--norc', '-i'], handler, usual, { PS1: 'shell> ' });
    await shell.shows(/shell>/);
    shell.type(`'${process.execPath}' '${staged.cli}' image delete py\r`);
    await shell.shows(/y\/N/);
    shell.type('\x03');
    expect(await shell.shows(/y\/N.*shell>$/s)).toMatch(/\[y\/N\] ?\nshell>$/);
    shell.type('echo "exit code $?"\r');
    await shell.shows(/^exit code 130$/m);
    expect(methods).not.toContain('DELETE');
  });

  test('an ext4 file does not go to a terminal', async () => {
    const terminal = await run(['image', 'export', 'py', '-o', '-'], () => noImages, usual);
    expect(await terminal.ended).toBe(1);
    expect(await terminal.text()).toBe(
      `error: an ext4 file does not go to a terminal (invalid_request)
Send it to a file with -o FILE, or to a program: bhatti image export NAME -o - | gzip > NAME.ext4.gz`,
    );
  });

  test('an export shows how far it is, and leaves what it has done', async () => {
    let sendRest = () => {};
    const handler: Handler = () => async (response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': 9_000_000 });
      response.write(Buffer.alloc(3_000_000));
      await new Promise<void>((resolve) => {
        sendRest = resolve;
      });
      response.end(Buffer.alloc(6_000_000));
    };
    const terminal = await run(['image', 'export', 'py'], handler, { columns: 40, rows: 24 });
    await terminal.shows(/^ {2}downloading \(3 MB \/ 9 MB\)\.\.\./);
    sendRest();
    expect(await terminal.ended).toBe(0);
    expect(await terminal.text()).toBe('exported py to py.ext4 (9 MB)');
  });
});

const polled = ({ method, url }: Call) => method === 'GET' && !url.pathname.endsWith('/events');

describe('the console', () => {
  test('what is written while lines are drawn stands above them', () => {
    const { console, out } = recordedConsole({ columns: 80, rows: 24 });
    console.live(['one', 'two']);
    console.out('said\n');
    console.live(['three']);
    console.live([]);
    expect(out()).toBe('one\ntwo\n\r\x1b[2A\x1b[Jsaid\none\ntwo\n\r\x1b[2A\x1b[Jthree\n\r\x1b[1A\x1b[J');
  });

  test('lines that the screen has wrapped since are taken away whole', () => {
    const size = { columns: 80, rows: 24 };
    const { console, out } = recordedConsole(size);
    console.live(['x'.repeat(50)]);
    size.columns = 20;
    console.live([]);
    expect(out()).toContain('\r\x1b[3A\x1b[J');
  });
});
