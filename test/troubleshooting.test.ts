import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('..', import.meta.url));
const sources = ['apps', 'libs']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path)),
  )
  .filter((path) => path.endsWith('.ts') && !/\/(test|node_modules)\//.test(path));

/** The members of the `…ErrorCode` types, and the codes that errors are constructed with. */
function codesIn(source: string): string[] {
  const declared = [...source.matchAll(/(?:type \w+ErrorCode =|const codes = \[)([^;\]]*)[;\]]/g)].flatMap(
    ([, list = '']) => [...list.matchAll(/'([a-z][a-z0-9_]*)'/g)].map(([, code = '']) => code),
  );
  const thrown = [
    ...source.matchAll(/new (?:Oci|Worker|Store|Rootfs|Task|Api|Cli)Error\(\s*(?:\w+,\s*)?'([a-z0-9_]+)'/g),
    ...source.matchAll(/\bcode: '([a-z][a-z0-9_]*)', message:/g),
  ].map(([, code = '']) => code);
  return [...declared, ...thrown];
}

test('docs/troubleshooting.md explains every code that users can see', () => {
  const codes = new Set(sources.flatMap((path) => codesIn(readFileSync(`${root}/${path}`, 'utf8'))));
  expect([...codes]).toEqual(expect.arrayContaining(['layer_corrupt', 'too_large', 'worker_crashed', 'rate_limited']));
  const page = readFileSync(`${root}/docs/troubleshooting.md`, 'utf8');
  expect([...codes].filter((code) => !page.includes(`\`${code}\``)).sort()).toEqual([]);
});

test.each(['oci', 'rootfs', 'store', 'tasks'])(
  'the README of libs/%s has every code of its errors, and no other',
  (lib) => {
    const codes = codesIn(readFileSync(`${root}/libs/${lib}/error.ts`, 'utf8'));
    const errors = readFileSync(`${root}/libs/${lib}/README.md`, 'utf8')
      .split(/^## /m)
      .find((part) => part.startsWith('Errors'));
    const rows = [...(errors ?? '').matchAll(/^\| (`[^|]*`) +\|/gm)].map(([, cell = '']) => cell);
    const listed = rows.flatMap((cell) => [...cell.matchAll(/`([a-z0-9_]+)`/g)].map(([, code]) => code));
    expect(listed.sort()).toEqual([...new Set(codes)].sort());
  },
);
