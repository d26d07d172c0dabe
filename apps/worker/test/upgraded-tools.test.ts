import { randomBytes } from 'node:crypto';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const SIZE = 1_000_000;

let stack: TestStack;
let tools: string;

beforeAll(async () => {
  stack = await startStack();
  tools = await mkdtemp(join(tmpdir(), 'bhatti-tools-'));
});
afterAll(async () => {
  await stack.close();
  await rm(tools, { recursive: true, force: true });
});

/** Puts a mke2fs in the place of the one before, as a package manager does. */
async function installMke2fs(version: string): Promise<void> {
  const real = 'PATH=/usr/local/sbin:/usr/sbin:/sbin exec mke2fs "$@"';
  const script = `#!/bin/sh\n[ "$1" != -V ] || { echo 'mke2fs ${version}' >&2; exit; }\n${real}\n`;
  await writeFile(join(tools, 'new'), script, { mode: 0o755 });
  await rename(join(tools, 'new'), join(tools, 'mke2fs'));
}

test('an image is known by the mke2fs that made it, also where another was there when its layers were asked for', async () => {
  await installMke2fs('1.0');
  await stack.startWorkerProcess({ PATH: `${tools}:${process.env.PATH}` });
  const tar = await layerTar([{ name: 'f', content: randomBytes(SIZE) }]);
  const { reference, layers } = stack.registry.pushImage({ repository: 'library/app', layers: [{ tar }] });
  const [layer] = layers;
  stack.registry.plan({ path: layer?.digest ?? '', cutAfter: SIZE / 2, times: 1 });
  let upgrade = () => {};
  const until = new Promise<void>((resolve) => {
    upgrade = resolve;
  });
  stack.registry.plan({ path: layer?.digest ?? '', until });
  const id = await stack.enqueue({ reference, name: 'app' });
  await eventually(async () => (await stack.store.partials.size(layer?.digest ?? '')) > 0);
  await installMke2fs('2.0');
  upgrade();
  expect(await stack.ended(id)).toMatchObject({ status: 'completed' });
  expect(await stack.pull({ reference, name: 'same' })).toMatchObject({ result: { reused: 'rootfs' } });
  await installMke2fs('1.0');
  expect(await stack.pull({ reference, name: 'other' })).toMatchObject({ result: { reused: 'layers' } });
});
