/** Runs every example of docs/api.md, in order, each in a shell, against a real stack. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import * as z from 'zod';
import { imageArchive } from './support/archive.ts';
import { type Bhatti, createBhatti, type StackStatus } from './support/bhatti.ts';
import { eventually } from './support/eventually.ts';
import { fileLayer } from './support/layer.ts';
import { startRegistry, type TestRegistry } from './support/registry.ts';

const execute = promisify(execFile);
const page = readFileSync(fileURLToPath(new URL('../docs/api.md', import.meta.url)), 'utf8');
/** The commands, and the output shown for them. */
const examples = [...page.matchAll(/```sh\n([\s\S]*?)```\n\n```(json)?\n([\s\S]*?)```/g)].map(
  ([, command = '', language, output = '']) => ({ command, json: language === 'json', output }),
);

let bhatti: Bhatti;
let registry: TestRegistry;
let stack: StackStatus;

beforeAll(async () => {
  registry = await startRegistry();
  const layer = await fileLayer({ 'bin/sh': '#!\n', 'etc/hello': 'hello\n' });
  const config = { Env: ['PATH=/bin'], Cmd: ['/bin/sh'] };
  registry.pushImage({ repository: 'library/alpine', tag: '3.20', layers: [layer], config });
  bhatti = await createBhatti();
  await bhatti.run(['serve', '--detach']);
  stack = await bhatti.status();
  const archived = await fileLayer({ 'bin/sh': '#!\n', 'etc/hello': 'imported\n' });
  await writeFile(
    join(directory(), 'alpine.tar'),
    await imageArchive('docker', [{ tags: ['alpine:3.20'], tars: [archived.tar] }]),
  );
});
afterAll(async () => {
  await bhatti.remove();
  await registry.close();
});

function directory(): string {
  return dirname(bhatti.dataDirectory);
}

/** What differs from run to run, in the form of the page. */
function normalized(text: string): string {
  return text
    .replaceAll(registry.host, '127.0.0.1:5000')
    .replace(/\/\S*\/rootfs\/sha256\/\S*?\/rootfs\.ext4/g, 'PATH')
    .replace(/tsk_[a-z2-7]{12}/g, 'TASK')
    .replace(/req_[0-9a-f]{16}/g, 'REQUEST')
    .replace(/sha256:[0-9a-f]+…?/g, 'DIGEST')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replace(/\d+ (GB|MB|kB|B)\b/g, 'BYTES')
    .replace(/linux\/\w+/g, 'PLATFORM')
    .replace(/^(?:amd64|arm64)$/, 'ARCHITECTURE');
}

/** Numbers become a placeholder, as sizes depend on the image. Fields that the page leaves out are removed. */
function shape(value: unknown): unknown {
  if (typeof value === 'number') return 'NUMBER';
  if (typeof value === 'string') return normalized(value);
  if (Array.isArray(value)) return value.map(shape);
  if (typeof value !== 'object' || value === null) return value;
  const left = new Set(['detail', 'sha256']);
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, item]) => (left.has(key) ? [] : [[key, shape(item)]])),
  );
}

test('every block of commands has its output below it', () => {
  expect(examples.length).toBe(page.match(/^```sh$/gm)?.length);
  expect(examples.length).toBeGreaterThan(15);
});

const image = z.object({ sha256: z.string().optional() });

/** Whether the SHA-256 of the imported image is known, which happens some time after its build and changes its ETag. */
async function hasDigest(): Promise<boolean> {
  const headers = { authorization: `Bearer ${stack.token}` };
  const { sha256 } = image.parse(await (await fetch(`${stack.url}/images/imported`, { headers })).json());
  return sha256 !== undefined;
}

test('every example prints what the page shows', async () => {
  for (const { command, json, output } of examples) {
    if (command.includes('ETag')) await eventually(hasDigest);
    const run = command.replaceAll('127.0.0.1:5000', registry.host);
    // As its stdin is a socket, bash would read the user's .bashrc, which may take a second.
    const { stdout } = await execute('bash', ['--norc', '-o', 'pipefail', '-c', run], {
      cwd: directory(),
      env: { PATH: process.env.PATH, HOME: directory(), BHATTI_URL: stack.url, BHATTI_TOKEN: stack.token },
    });
    const [printed, shown] = json
      ? [shape(JSON.parse(stdout)), shape(JSON.parse(output))]
      : [normalized(stdout.replaceAll('\r', '')).trim(), normalized(output).trim()];
    expect({ command, printed }).toEqual({ command, printed: shown });
  }
});

const openApi = z.object({ paths: z.record(z.string(), z.unknown()) });

test('the page names every route', async () => {
  const { paths } = openApi.parse(await (await fetch(`${stack.url}/openapi.json`)).json());
  const routes = Object.keys(paths).map((path) => path.replace(/\{(\w+)\}/g, ':$1'));
  expect(routes).toContain('/images/:name/rootfs');
  expect(routes.filter((path) => !page.includes(path))).toEqual([]);
});

test('the table of errors has every code of the API, beside its status', () => {
  const folder = fileURLToPath(new URL('../apps/api/', import.meta.url));
  const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.startsWith('test/'))
    .map((path) => readFileSync(join(folder, path), 'utf8'));
  const thrown = sources.flatMap((source) => [...source.matchAll(/new ApiError\(\s*(\d+),\s*'([a-z_]+)'/g)]);
  const mapped = sources.flatMap((source) => [...source.matchAll(/^ {2}([a-z_]+): (\d{3}),$/gm)]);
  const pairs = new Set([
    ...thrown.map(([, status, code]) => `${status} ${code}`),
    ...mapped.map(([, code, status]) => `${status} ${code}`),
  ]);
  expect(pairs.size).toBeGreaterThan(15);
  const rows = new Map(
    [...page.matchAll(/^\| (\d{3}) +\|(.*)\|$/gm)].map(([, status = '', row = '']) => [status, row]),
  );
  const missing = [...pairs].filter((pair) => {
    const [status = '', code = ''] = pair.split(' ');
    return !rows.get(status)?.includes(`\`${code}\``);
  });
  expect(missing).toEqual([]);
});
