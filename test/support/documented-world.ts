import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import * as z from 'zod';
import { ApiClient } from '../../apps/cli/api-client.ts';
import { type PseudoTerminal, startInTerminal } from '../../apps/cli/test/pseudo-terminal.ts';
import { imageArchive } from './archive.ts';
import { type DocumentedCommand, NamedValues, normalised } from './console-document.ts';
import { fileLayer } from './layer.ts';
import { startRedis } from './redis.ts';
import { startRegistry } from './registry.ts';

const program = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** How the output of a command that failed is marked, where the page tells it. */
export const exitLine = (code: number) => (code === 0 ? '' : `[exit ${code}]`);

/**
 * A machine on which the commands of the documentation can be run as they stand: `bhatti` on the PATH, a folder with the files
 * they name, and a registry that has their images in place of Docker Hub and ghcr.io. Docker is one that can only save.
 */
export async function createDocumentedWorld() {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-documented-'));
  const work = join(directory, 'work');
  const bin = join(directory, 'bin');
  const home = join(directory, 'home');
  const data = join(directory, 'data');
  for (const path of [work, bin, home, data]) await mkdir(path);

  const registry = await startRegistry();
  const redis = await startRedis();
  const base = await fileLayer({
    'bin/sh': '#!\n',
    'etc/os-release': 'NAME=Demo\n',
    'usr/lib/blob': randomBytes(300_000),
  });
  const ownLayers = new Map<string, string>();
  for (const [repository, tag] of [
    ['library/python', '3.12'],
    ['library/alpine', '3.20'],
    ['library/node', '22-slim'],
    ['library/ubuntu', '24.04'],
    ['org/app', '1'],
  ] as const) {
    const own = await fileLayer({ 'etc/image': `${repository}:${tag}\n` });
    const { layers } = registry.pushImage({
      repository,
      tag,
      layers: [base, own],
      config: { Cmd: ['sh'], Env: ['A=1'] },
    });
    ownLayers.set(`${repository.replace('library/', '')}:${tag}`, layers[1]?.digest ?? '');
  }
  const layout = join(directory, 'layout.tar');
  await writeFile(layout, await imageArchive('oci', [{ tags: ['app:1'], tars: [base.tar] }]));
  const archive = await imageArchive('docker', [{ tags: ['app:1'], tars: [base.tar] }]);
  const files: Record<string, string | Buffer> = {
    'image.tar': archive,
    'alpine.tar': archive,
    'base.tar': base.tar,
    'app.tar.gz': gzipSync((await fileLayer({ 'srv/app': 'app\n' })).tar),
    credentials: 'user:token\n',
  };
  await writeFile(join(directory, 'image.tar'), archive);
  const programs = {
    bhatti: `exec '${process.execPath}' '${program}' "$@"`,
    docker: `exec cat '${join(directory, 'image.tar')}'`,
  };
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(bin, name), 0o755);
  }

  const env: NodeJS.ProcessEnv = {
    PATH: `${bin}:${process.env.PATH}:/usr/sbin:/sbin`,
    HOME: home,
    BHATTI_DATA_DIR: data,
    BHATTI_LISTEN: '127.0.0.1:0',
  };
  const values = new NamedValues();
  const commandLine = (command: string) => values.in(command.replace(/^\.\/bhatti/, 'bhatti'));
  values.set('127.0.0.1:5000', registry.host);
  values.set('redis://10.0.0.5', redis.url);
  values.set('/var/lib/bhatti', data);
  const told = (text: string) =>
    normalised(text.replaceAll(data, '/var/lib/bhatti').replaceAll(home, '~').replaceAll(work, '.'));

  /** Runs a command as on a pipe. `^C` in the documented output is pressed when what stands before it is there. */
  async function piped({ command, output }: DocumentedCommand): Promise<string> {
    const child = spawn('bash', ['-c', `exec 2>&1\n${commandLine(command)}`], {
      cwd: work,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (data: string) => {
      text += data;
    });
    const closed = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? 1)));
    const interrupt = interruptIn(output);
    if (interrupt !== undefined && child.pid !== undefined) {
      await reached(async () => text, interrupt, closed);
      process.kill(-child.pid, 'SIGINT');
    }
    const code = await closed;
    return [text.trimEnd(), exitLine(code)].filter((part) => part !== '').join('\n');
  }

  /** The same in a terminal; what stands behind a question is typed. */
  async function inTerminal({ command, output }: DocumentedCommand): Promise<string> {
    const terminal = await startInTerminal(['bash', '-c', commandLine(command)], {
      directory: work,
      env,
      columns: 120,
      rows: 30,
    });
    await answerQuestions(terminal, output, (text) => values.in(text));
    const interrupt = interruptIn(output);
    if (interrupt !== undefined) {
      await reached(terminal.text, interrupt, terminal.ended);
      terminal.type('\x03');
    }
    const code = await terminal.ended;
    return [await terminal.text(), exitLine(code)].filter((part) => part !== '').join('\n');
  }

  async function reached(text: () => Promise<string>, wanted: string, closed: Promise<number>): Promise<void> {
    let ended = false;
    void closed.then(() => {
      ended = true;
    });
    const isThere = (seen: string) => (wanted === '' ? /downloading|healthy/.test(seen) : told(seen).includes(wanted));
    while (!ended && !isThere(await text())) await sleep(20);
  }

  const interruptIn = (output: string) => {
    const at = output.indexOf('^C');
    return at === -1 ? undefined : told(output.slice(0, at).trimEnd());
  };

  const waiting: (() => void)[] = [];

  /** The image is not there as a whole before it is let go, where a command leaves a pull under way. Tells whether it is held. */
  function hold({ command, output }: DocumentedCommand): boolean {
    const layer = ownLayers.get(/image pull (\S+)/.exec(command)?.[1] ?? '');
    if (layer !== undefined && (output.includes('^C') || command.includes('--detach'))) {
      const until = new Promise<void>((resolve) => waiting.push(resolve));
      registry.plan({ path: layer, until });
      return true;
    }
    if (command.includes('task watch')) release();
    return false;
  }

  function release(): void {
    registry.clearFaults();
    for (const resolve of waiting.splice(0)) resolve();
  }

  /** A page begins on a machine where nothing was pulled: a prune would leave what tasks that just ended may still hold. */
  async function reset(): Promise<void> {
    release();
    values.forget();
    await piped({ command: 'bhatti serve stop', output: '' });
    for (const path of [home, work, data]) await rm(path, { recursive: true, force: true });
    for (const path of [data, home, join(work, 'layout')]) await mkdir(path, { recursive: true, mode: 0o700 });
    for (const [name, content] of Object.entries(files)) await writeFile(join(work, name), content);
    await promisify(execFile)('tar', ['-xf', layout, '-C', join(work, 'layout')]);
    const mirrors = { mirrors: [registry.host] };
    const registries = { 'docker.io': mirrors, 'ghcr.io': mirrors };
    await writeFile(join(data, 'registries.yaml'), JSON.stringify({ registries }));
  }

  /** A pull that was left has come as far as it can before the next command looks at it. */
  async function settle(): Promise<void> {
    const client = new ApiClient({ kind: 'socket', path: join(data, 'run/api.sock') });
    while (
      !(await client.tasks({ status: 'running', limit: 1 })).some(({ progress }) => progress?.startsWith('downloading'))
    ) {
      await sleep(50);
    }
    client.close();
  }

  /** The address and the token of the server, as soon as it runs. */
  async function seeServer(): Promise<{ readonly url: string }> {
    const { url, token } = serverStatus.parse(
      JSON.parse(await piped({ command: 'bhatti serve status --json', output: '' })),
    );
    for (const name of ['http://localhost:8080', 'https://bhatti.example.com']) values.set(name, url);
    values.set('bht_...', token);
    return { url };
  }

  return {
    hold,
    settle,
    reset,
    seeServer,
    directory: work,
    data,
    env,
    registry,
    values,
    told,
    piped,
    inTerminal,
    async close() {
      await piped({ command: 'bhatti serve stop', output: '' });
      await redis.stop();
      await registry.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

const serverStatus = z.object({ url: z.string(), token: z.string() });

const QUESTION = /^((?:.*\?|Server URL)[^\n]*\]:? )(\S+)$/gm;

async function answerQuestions(
  terminal: PseudoTerminal,
  output: string,
  actual: (text: string) => string,
): Promise<void> {
  for (const [, question = '', answer = ''] of output.matchAll(QUESTION)) {
    const pattern = question.trimEnd().replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    await terminal.shows(new RegExp(`${pattern}$`));
    // The page has the address of this run normalised away.
    terminal.type(`${actual(answer === 'URL' ? 'http://localhost:8080' : answer)}\r`);
  }
  if (!output.includes('API token')) return;
  await terminal.shows(/API token .*:$/);
  terminal.type(`${actual('bht_...')}\r`);
}
