import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { RootfsError } from '@bhatti/rootfs';
import { queueKey } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const run = promisify(execFile);
const toolPath = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

let stack: TestStack;

beforeAll(async () => {
  stack = await startStack();
  await stack.startWorker();
});
afterAll(() => stack.close());
beforeEach(() => {
  stack.blobsFetched();
});
afterEach(() => stack.registry.clearFaults());

async function smallLayer(text: string): Promise<{ tar: Buffer }> {
  return {
    tar: await layerTar([
      { name: 'etc/', type: 'directory', mode: 0o755 },
      { name: `etc/${text}`, content: text },
    ]),
  };
}

describe('a pull', () => {
  test('ends with a checked image in the catalog, and leaves nothing else', async () => {
    const one = await smallLayer('one');
    const image = stack.registry.pushImage({
      repository: 'library/first',
      tag: '1.0',
      layers: [
        one,
        { ...(await smallLayer('two')), compression: 'zstd' },
        { ...(await smallLayer('three')), compression: 'none' },
        // As builders list empty layers, many times.
        one,
      ],
      config: { Env: ['A=b'], Cmd: ['sh'] },
    });
    const view = await stack.pull({ reference: image.reference, name: 'first-1.0' });
    expect(view).toMatchObject({ status: 'completed', error: null, progress: 'flattening to ext4...' });
    expect(view.result).toMatchObject({ image: 'first-1.0', digest: image.digest });
    expect(view.result?.reused).toBeUndefined();
    expect(view.result?.steps).toEqual([
      { phase: 'resolving', line: 'resolving manifest...' },
      { phase: 'downloading', line: expect.stringMatching(/^downloading layers \((.+) \/ \1\)\.\.\.$/) },
      { phase: 'flattening', line: 'flattening to ext4...' },
    ]);
    const entry = await stack.store.images.get('local', 'first-1.0');
    expect(entry).toMatchObject({
      manifestDigest: image.digest,
      reference: image.reference,
      sizeBytes: view.result?.sizeBytes,
      config: { env: ['A=b'], cmd: ['sh'] },
    });
    const path = stack.store.rootfs.path(entry?.rootfsKey ?? '');
    await run('e2fsck', ['-fn', path], { env: toolPath });
    const { stdout } = await run('debugfs', ['-R', 'cat /etc/two', path], { env: toolPath });
    expect(stdout).toBe('two');
    expect(await stack.leftovers()).toEqual([]);
    expect(await stack.connection.keys('*partial*')).toEqual([]);
    expect((await stack.queue.getJobLogs(view.id)).logs).toEqual([
      expect.stringContaining('attempt 1 of 3'),
      expect.stringContaining('3 layers'),
      expect.stringContaining('completed'),
    ]);
    expect(stack.log()).not.toContain('the queue worker ended');
  });

  test('puts the layers on each other in the order of the manifest, one that is there twice in both places', async () => {
    const layer = async (content: string, ...more: string[]) => ({
      tar: await layerTar([{ name: 'file', content }, ...more.map((name) => ({ name, content: '' }))]),
    });
    const [base, top] = [await layer('base', 'removed'), await layer('top', '.wh.removed')];
    const found: Record<string, unknown> = {};
    for (const [name, layers] of Object.entries({ two: [base, top], three: [base, top, base] })) {
      const { reference } = stack.registry.pushImage({ repository: `library/${name}`, layers });
      expect(await stack.pull({ reference, name })).toMatchObject({ status: 'completed' });
      const path = stack.store.rootfs.path((await stack.store.images.get('local', name))?.rootfsKey ?? '');
      const debugfs = (request: string) => run('debugfs', ['-R', request, path], { env: toolPath });
      const [{ stdout: file }, { stderr }] = await Promise.all([debugfs('cat /file'), debugfs('stat /removed')]);
      found[name] = [file, !stderr.includes('not found')];
    }
    expect(found).toEqual({ two: ['top', false], three: ['base', true] });
  });

  test('tells of each layer how much of it is there', async () => {
    const image = stack.registry.pushImage({
      repository: 'library/each',
      layers: [{ tar: await layerTar([{ name: 'f', content: randomBytes(1_000_000) }]) }, await smallLayer('each')],
    });
    const [large, small] = image.layers.map(({ digest }) => digest);
    stack.registry.plan({ path: large ?? '', stallAfter: 500_000 });
    const id = await stack.enqueue({ reference: image.reference, name: 'each' });
    const detail = await eventually(async () => {
      const seen = (await stack.view(id)).detail ?? undefined;
      return (seen?.layers?.[0]?.downloadedBytes ?? 0) > 0 && seen?.layers?.[1]?.downloadedBytes !== 0 && seen;
    });
    const [first, second] = detail.layers ?? [];
    expect(detail.layers?.map(({ digest }) => digest)).toEqual([large, small]);
    expect(second?.downloadedBytes).toBe(second?.totalBytes);
    expect((first?.downloadedBytes ?? 0) + (second?.downloadedBytes ?? 0)).toBe(detail.downloadedBytes);
    expect((first?.totalBytes ?? 0) + (second?.totalBytes ?? 0)).toBe(detail.totalBytes);
    stack.registry.clearFaults();
    stack.registry.dropConnections();
    expect(await stack.ended(id)).toMatchObject({ status: 'completed' });
  });

  test('warns of an image that is for other machines', async () => {
    const architecture = process.arch === 'x64' ? 'arm64' : 'amd64';
    const image = stack.registry.pushImage({
      repository: 'library/foreign',
      layers: [await smallLayer('foreign')],
      platform: { architecture },
    });
    const { result } = await stack.pull({
      reference: image.reference,
      name: 'foreign',
      platform: `linux/${architecture}`,
    });
    expect(result?.warnings).toContainEqual(expect.stringContaining(`linux/${architecture}`));
  });

  test('of the same digest again asks for the manifest only', async () => {
    const image = stack.registry.pushImage({ repository: 'library/again', layers: [await smallLayer('again')] });
    await stack.pull({ reference: image.reference, name: 'again-latest' });
    const before = await stack.store.images.get('local', 'again-latest');
    stack.blobsFetched();
    const view = await stack.pull({ reference: image.reference, name: 'again-latest' });
    expect(view.result).toMatchObject({ digest: image.digest, reused: 'rootfs', steps: [{ phase: 'resolving' }] });
    expect(stack.blobsFetched()).toEqual([]);
    expect(await stack.store.images.get('local', 'again-latest')).toEqual(before);
  });

  test('under another name builds nothing', async () => {
    const image = stack.registry.pushImage({
      repository: 'library/named',
      layers: [await smallLayer('named')],
      config: { User: 'me' },
    });
    await stack.pull({ reference: image.reference, name: 'one' });
    const one = await stack.store.images.get('local', 'one');
    const built = await stat(stack.store.rootfs.path(one?.rootfsKey ?? ''));
    stack.blobsFetched();
    const view = await stack.pull({ reference: image.reference, name: 'other' });
    expect(view.result).toMatchObject({ image: 'other', digest: image.digest, reused: 'rootfs' });
    const other = await stack.store.images.get('local', 'other');
    expect(other).toMatchObject({ rootfsKey: one?.rootfsKey, config: { user: 'me' } });
    expect((await stat(stack.store.rootfs.path(other?.rootfsKey ?? ''))).ino).toBe(built.ino);
    const layer = image.layers[0]?.digest;
    expect(stack.blobsFetched()).not.toContain(layer);
  });

  test('of a tag that moved makes the name point to the new image; the layers that stayed are not fetched', async () => {
    const base = await smallLayer('base');
    const first = stack.registry.pushImage({ repository: 'library/moved', layers: [base, await smallLayer('v1')] });
    await stack.pull({ reference: first.reference, name: 'moved' });
    stack.blobsFetched();
    const second = stack.registry.pushImage({ repository: 'library/moved', layers: [base, await smallLayer('v2')] });
    const view = await stack.pull({ reference: first.reference, name: 'moved' });
    expect(view.result?.digest).toBe(second.digest);
    expect(await stack.store.images.get('local', 'moved')).toMatchObject({ manifestDigest: second.digest });
    const fetched = stack.blobsFetched();
    expect(fetched).toContain(second.layers[1]?.digest);
    expect(fetched).not.toContain(second.layers[0]?.digest);
  });

  test('whose name stood for an image of another repository warns of that', async () => {
    const layers = [await smallLayer('displaced')];
    const [before, after] = ['old', 'new'].map((owner) =>
      stack.registry.pushImage({ repository: `${owner}/displaced`, layers }),
    );
    const first = await stack.pull({ reference: before?.reference ?? '', name: 'displaced' });
    const { result } = await stack.pull({ reference: after?.reference ?? '', name: 'displaced' });
    expect(result?.warnings).toEqual([
      ...(first.result?.warnings ?? []),
      `the name displaced stood for ${before?.reference} before; to keep both, pull that one again under another name`,
    ]);
  });

  test('that is forced builds anew and replaces what was damaged', async () => {
    const image = stack.registry.pushImage({ repository: 'library/forced', layers: [await smallLayer('forced')] });
    const request = { reference: image.reference, name: 'forced' };
    await stack.pull(request);
    const entry = await stack.store.images.get('local', 'forced');
    const path = stack.store.rootfs.path(entry?.rootfsKey ?? '');
    const whole = await readFile(path);
    // Of the right size, so that no look at it tells.
    await writeFile(path, Buffer.alloc(whole.length));
    const { result } = await stack.pull({ ...request, force: true });
    expect(result?.reused).toBe('layers');
    expect((await readFile(path)).equals(whole)).toBe(true);
    expect(await stack.leftovers()).toEqual([]);
  });

  test('with another size is another root filesystem of the same layers', async () => {
    const image = stack.registry.pushImage({ repository: 'library/sized', layers: [await smallLayer('sized')] });
    await stack.pull({ reference: image.reference, name: 'sized' });
    // A worker died between publishing the layer and removing this.
    await writeFile(stack.store.partials.path(image.layers[0]?.digest ?? ''), 'left');
    const unused = new Date(Date.now() - 3600_000);
    await utimes(stack.store.layers.directory(image.diffIds[0] ?? ''), unused, unused);
    const sizeBytes = 2 ** 25;
    const view = await stack.pull({ reference: image.reference, name: 'sized', sizeBytes });
    expect(view.result).toMatchObject({ sizeBytes, reused: 'layers' });
    const entry = await stack.store.images.get('local', 'sized');
    expect((await stat(stack.store.rootfs.path(entry?.rootfsKey ?? ''))).size).toBe(sizeBytes);
    expect(await stack.leftovers()).toEqual([]);
    await eventually(async () => (await stack.connection.keys('*lease*')).length === 0);
    // Among the layers that may be evicted, it is one of those used last.
    const layer = (await stack.store.layers.list()).find(({ hex }) => image.diffIds[0] === `sha256:${hex}`);
    expect(layer?.lastUsed.getTime()).toBeGreaterThan(unused.getTime());
  });

  test('at the same time as another of the same layers fetches each once and builds once', async () => {
    const layers = [
      await smallLayer('shared'),
      { tar: await layerTar([{ name: 'big', content: randomBytes(1_000_000) }]) },
    ];
    const own = await smallLayer('own');
    const a = stack.registry.pushImage({ repository: 'library/a', layers });
    const b = stack.registry.pushImage({ repository: 'library/b', layers: [...layers, own] });
    for (const { digest } of a.layers) stack.registry.plan({ path: digest, bytesPerSecond: 2_000_000 });
    const ids = await Promise.all([
      stack.enqueue({ reference: a.reference, name: 'a' }),
      stack.enqueue({ reference: b.reference, name: 'b' }),
      stack.enqueue({ reference: a.reference, name: 'a2' }),
    ]);
    const views = await Promise.all(ids.map((id) => stack.ended(id)));
    expect(views.map(({ status }) => status)).toEqual(['completed', 'completed', 'completed']);
    // What another has fetched counts as much as what was fetched here.
    for (const { result } of views) {
      expect(result?.steps[1]?.line ?? '(1 / 1)').toMatch(/\((.+) \/ \1\)/);
    }
    const fetched = stack.blobsFetched();
    for (const { digest } of b.layers) expect(fetched.filter((blob) => blob === digest)).toHaveLength(1);
  });

  test.each([
    { what: 'wrong', fault: { corruptAt: 50_000 } },
    { what: 'as another blob', fault: { status: 200, body: 'of another size' } },
  ])('gets over bytes that arrive $what once', async ({ what, fault }) => {
    const image = stack.registry.pushImage({
      repository: `library/${what.replaceAll(' ', '-')}`,
      layers: [{ tar: await layerTar([{ name: 'f', content: randomBytes(100_000) }]) }],
    });
    const digest = image.layers[0]?.digest ?? '';
    stack.registry.plan({ path: digest, ...fault, times: 1 });
    const view = await stack.pull({ reference: image.reference, name: 'flip' });
    expect(view.status).toBe('completed');
    expect(stack.blobsFetched().filter((blob) => blob === digest)).toHaveLength(2);
  });

  test('continues a partial that is there, and throws away one that is wrong', async () => {
    const image = stack.registry.pushImage({
      repository: 'library/resume',
      layers: [{ tar: await layerTar([{ name: 'f', content: randomBytes(100_000) }]) }],
    });
    const digest = image.layers[0]?.digest ?? '';
    await writeFile(stack.store.partials.path(digest), randomBytes(1000));
    const view = await stack.pull({ reference: image.reference, name: 'resume' });
    expect(view.status).toBe('completed');
    const ranges = stack.registry.requests.filter(({ path }) => path.endsWith(digest)).map(({ range }) => range);
    expect(ranges).toEqual(['bytes=1000-', undefined]);
    expect(await stack.leftovers()).toEqual([]);
  });
});

describe('a pull of several layers', () => {
  test('decodes one that is there while the downloads of others stall, however much of them is there', async () => {
    const tarOf = (bytes: number) => layerTar([{ name: 'f', content: randomBytes(bytes) }]);
    const layers = [{ tar: await tarOf(4_000_000) }, { tar: await tarOf(4_000_000) }, { tar: await tarOf(1000) }];
    const image = stack.registry.pushImage({ repository: 'library/stalled', layers });
    const [first = '', second = ''] = image.layers.map(({ digest }) => digest);
    for (const path of [first, second]) stack.registry.plan({ path, stallAfter: 3_000_000 });
    const id = await stack.enqueue({ reference: image.reference, name: 'stalled' });
    for (const blob of [first, second]) {
      await eventually(async () => (await stack.store.partials.size(blob)) === 3_000_000);
    }
    await eventually(() => stack.store.layers.has(image.diffIds[2] ?? ''));
    expect(await stack.view(id)).toMatchObject({ status: 'running' });
    for (const [index, blob] of [first, second].entries()) {
      expect(stack.registry.requests.filter(({ path }) => path.endsWith(blob))).toHaveLength(1);
      expect(await stack.store.layers.has(image.diffIds[index] ?? '')).toBe(false);
    }
    stack.registry.clearFaults();
    stack.registry.dropConnections();
    expect(await stack.ended(id)).toMatchObject({ status: 'completed' });
  });
});

describe('a pull that is taken up again', () => {
  test('tells from the start what is there of all its layers, also of those that it does not fetch yet', async () => {
    const layers = await Promise.all(
      Array.from({ length: 6 }, async () => ({ tar: await layerTar([{ name: 'f', content: randomBytes(10_000) }]) })),
    );
    const image = stack.registry.pushImage({ repository: 'library/taken-up', layers });
    for (const { digest } of image.layers) {
      await writeFile(stack.store.partials.path(digest), randomBytes(1000));
      stack.registry.plan({ path: digest, status: 429, headers: { 'retry-after': '3600' } });
    }
    const id = await stack.enqueue({ reference: image.reference, name: 'taken-up' });
    await eventually(async () => (await stack.job(id)).isDelayed());
    expect((await stack.view(id)).progress).toContain('downloading layers (6 kB / ');
    stack.registry.clearFaults();
    await (await stack.job(id)).promote();
    expect(await stack.ended(id)).toMatchObject({ status: 'completed' });
  });
});

describe('a pull whose tag moves between its attempts', () => {
  test('leaves nothing of the image that it began with', async () => {
    const content = () => layerTar([{ name: 'f', content: randomBytes(1_000_000) }]);
    const before = stack.registry.pushImage({ repository: 'library/moving', layers: [{ tar: await content() }] });
    const blob = before.layers[0]?.digest ?? '';
    stack.registry.plan({ path: blob, cutAfter: 500_000, times: 1 });
    stack.registry.plan({ path: blob, status: 429, headers: { 'retry-after': '3600' } });
    const id = await stack.enqueue({ reference: before.reference, name: 'moving' });
    await eventually(async () => (await stack.job(id)).isDelayed());
    expect(await stack.leftovers()).toHaveLength(1);
    const after = stack.registry.pushImage({ repository: 'library/moving', layers: [{ tar: await content() }] });
    await (await stack.job(id)).promote();
    expect(await stack.ended(id)).toMatchObject({ status: 'completed', result: { digest: after.digest } });
    expect(await stack.leftovers()).toEqual([]);
    expect(await stack.connection.keys('*partial*')).toEqual([]);
  });
});

describe('a pull that fails', () => {
  test.each([
    {
      what: 'a layer that is not what its digest says',
      code: 'digest_mismatch',
      layer: () => layerTar([{ name: 'f', content: randomBytes(50_000) }]),
      fault: { corruptAt: 25_000 },
    },
    {
      what: 'a tar that is cut short',
      code: 'layer_corrupt',
      layer: async () => (await layerTar([{ name: 'f', content: randomBytes(50_000) }])).subarray(0, 20_000),
    },
    {
      what: 'an entry that climbs out',
      code: 'path_escapes_root',
      layer: () => layerTar([{ name: '../../etc/passwd', content: 'root' }]),
    },
    { what: 'a layer that is no tar', code: 'layer_corrupt', layer: async () => randomBytes(5000) },
  ])('$what: $code', async ({ code, layer, fault }) => {
    const repository = `library/bad-${code.replaceAll('_', '-')}`;
    const image = stack.registry.pushImage({ repository, layers: [await smallLayer('good'), { tar: await layer() }] });
    if (fault !== undefined) stack.registry.plan({ path: image.layers[1]?.digest ?? '', ...fault });
    const view = await stack.pull({ reference: image.reference, name: 'bad' });
    expect(view).toMatchObject({ status: 'failed', error: { code } });
    expect((await stack.job(view.id)).failedReason).toBe(`${code}: ${view.error?.message}`);
    expect((await stack.job(view.id)).attemptsMade).toBe(1);
    expect(await stack.store.images.get('local', 'bad')).toBeNull();
    expect(await stack.leftovers()).toEqual([]);
    expect(await stack.connection.keys('*partial*')).toEqual([]);
    expect((await stack.queue.getJobLogs(view.id)).logs.at(-1)).toContain(`failed: ${code}: `);
  });

  test.each([
    { code: 'manifest_unknown', plan: () => undefined },
    {
      code: 'invalid_manifest',
      plan: () => stack.registry.plan({ path: '/manifests/', status: 200, body: '<html>hi</html>' }),
    },
    {
      code: 'unauthorized',
      plan: () => stack.registry.plan({ path: '/manifests/', status: 403, error: { code: 'DENIED', message: 'no' } }),
    },
  ])('$code', async ({ code, plan }) => {
    plan();
    const view = await stack.pull({ reference: `${stack.registry.host}/library/none:1`, name: 'none' });
    expect(view).toMatchObject({ status: 'failed', error: { code } });
    expect(await stack.leftovers()).toEqual([]);
  });

  test('in a way that passes is tried again, from the bytes that are there', async () => {
    const image = stack.registry.pushImage({
      repository: 'library/later',
      layers: [{ tar: await layerTar([{ name: 'f', content: randomBytes(3_000_000) }]) }],
    });
    const digest = image.layers[0]?.digest ?? '';
    stack.registry.plan({ path: digest, cutAfter: 1_000_000, times: 1 });
    // More than the registry client's own patience: the attempt fails, and BullMQ makes another.
    stack.registry.plan({ path: digest, status: 429, headers: { 'retry-after': '3600' }, times: 1 });
    const view = await stack.pull({ reference: image.reference, name: 'later' });
    expect(view.status).toBe('completed');
    expect((await stack.job(view.id)).attemptsMade).toBe(2);
    const ranges = stack.registry.requests.filter(({ path }) => path.endsWith(digest)).map(({ range }) => range);
    expect(ranges).toEqual([undefined, 'bytes=1000000-', 'bytes=1000000-']);
    expect((await stack.queue.getJobLogs(view.id)).logs).toContainEqual(
      expect.stringContaining('failed, to be tried again: rate_limited'),
    );
  });

  test('in that way for as long as it is tried leaves what came to the next pull', async () => {
    const image = stack.registry.pushImage({
      repository: 'library/much-later',
      layers: [{ tar: await layerTar([{ name: 'f', content: randomBytes(300_000) }]) }],
    });
    const digest = image.layers[0]?.digest ?? '';
    stack.registry.plan({ path: digest, cutAfter: 100_000, times: 1 });
    stack.registry.plan({ path: digest, status: 429, headers: { 'retry-after': '3600' } });
    const id = await stack.enqueue({ reference: image.reference, name: 'much-later' });
    for (const _ of ['second', 'third']) {
      await eventually(async () => (await stack.job(id)).isDelayed());
      await (await stack.job(id)).promote();
    }
    expect(await stack.ended(id)).toMatchObject({ status: 'failed', error: { code: 'rate_limited' } });
    expect(await stack.store.partials.size(digest)).toBe(100_000);
    // Until then nobody has it.
    expect(await stack.connection.keys('*claims*')).toEqual([]);
    stack.registry.clearFaults();
    const view = await stack.pull({ reference: image.reference, name: 'much-later' });
    expect(view.status).toBe('completed');
    expect(stack.registry.requests.findLast(({ path }) => path.endsWith(digest))?.range).toBe('bytes=100000-');
    expect(await stack.leftovers()).toEqual([]);
  });

  test('as cancelled, though nobody has cancelled it, is tried again', async () => {
    const image = stack.registry.pushImage({ repository: 'library/stopped', layers: [await smallLayer('stopped')] });
    const stopped = new RootfsError('cancelled', 'decoding was stopped');
    jest.spyOn(stack.store.layers, 'begin').mockRejectedValueOnce(stopped);
    const id = await stack.enqueue({ reference: image.reference, name: 'stopped' });
    await eventually(async () => (await stack.job(id)).isDelayed());
    expect((await stack.queue.getJobLogs(id)).logs.at(-1)).toContain(
      'to be tried again: internal: decoding was stopped',
    );
    await (await stack.job(id)).promote();
    expect(await stack.ended(id)).toMatchObject({ status: 'completed' });
  });

  test('because it is none is not tried again', async () => {
    await stack.queue.pause();
    const id = await stack.enqueue({ reference: `${stack.registry.host}/library/none:1`, name: 'none' });
    await stack.connection.hset(queueKey(id), 'data', JSON.stringify({ reference: 1 }));
    await stack.queue.resume();
    const failed = await stack.failedJob(id);
    expect(failed.failedReason).toMatch(
      /^invalid_request: the task was put on the queue by something else than this API/,
    );
    expect(failed.attemptsMade).toBe(1);
  });

  test('because its job is no JSON does so once; one whose options alone are none ends well', async () => {
    const { reference } = stack.registry.pushImage({ repository: 'library/options', layers: [await smallLayer('o')] });
    await stack.queue.pause();
    const [runs, fails] = [
      await stack.enqueue({ reference, name: 'options' }),
      await stack.enqueue({ reference, name: 'data' }),
    ];
    await stack.connection.hset(queueKey(runs), 'opts', '{broken');
    await stack.connection.hset(queueKey(fails), 'data', 'null');
    await stack.connection.hset(queueKey(fails), 'opts', 'null');
    await stack.queue.resume();
    for (const id of [runs, fails]) {
      await eventually(async () => (await stack.connection.hget(queueKey(id), 'opts')) === '{}');
      await stack.giveUpOn(id);
    }
    expect(await stack.ended(runs)).toMatchObject({ status: 'completed' });
    const failed = await stack.failedJob(fails);
    expect(failed.failedReason).toMatch(/^invalid_request: /);
  });

  test('because Redis lost it while it waited says so', async () => {
    await stack.queue.pause();
    const id = await stack.enqueue({ reference: `${stack.registry.host}/library/none:1`, name: 'none' });
    await stack.connection.del(queueKey(id));
    await stack.queue.resume();
    const failed = await stack.failedJob(id);
    expect(failed).toMatchObject({
      attemptsMade: 1,
      failedReason: expect.stringMatching(/^task_lost: .*no longer in Redis/),
    });
  });

  test('because Redis lost everything while it ran says so, and does not speak of another worker', async () => {
    const image = stack.registry.pushImage({ repository: 'library/lost', layers: [await smallLayer('lost')] });
    stack.registry.plan({ path: image.layers[0]?.digest ?? '', stallAfter: 1 });
    const logged = stack.log().length;
    await stack.enqueue({ reference: image.reference, name: 'lost' });
    await eventually(() => stack.registry.requests.some(({ path }) => path.endsWith(image.layers[0]?.digest ?? '-')));
    await stack.connection.flushall();
    const told = () => stack.log().slice(logged);
    await eventually(() => told().includes('"code":"task_lost"'));
    expect(told()).toContain('the task is no longer in Redis');
    expect(told()).not.toContain('another worker');
    stack.registry.clearFaults();
    expect(await stack.pull({ reference: image.reference, name: 'lost' })).toMatchObject({ status: 'completed' });
  });
});
