import { execFile } from 'node:child_process';
import { readdir, readlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { cancelTask, isArriving, KEY_PREFIX, layerLease, noteArrival } from '@bhatti/tasks';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ArchiveLayout, imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { hostArchitecture, sha256, zstdFrame } from '../../../test/support/registry.ts';
import { collectUploads } from '../housekeeping/collect-uploads.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const run = promisify(execFile);
const toolPath = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

const layer = (text: string) =>
  layerTar([
    { name: 'etc/', type: 'directory' },
    { name: `etc/${text}`, content: text },
  ]);

/** The uploads, and what was unpacked of them, that this process has open. */
async function openUploads(): Promise<string[]> {
  const descriptors = await readdir('/proc/self/fd');
  // Reading the folder has closed its own.
  const paths = await Promise.all(descriptors.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return paths.filter((path) => path.startsWith(join(stack.directory, 'uploads')));
}

async function importArchive(request: Parameters<TestStack['enqueueImport']>[0]) {
  return stack.ended(await stack.enqueueImport(request));
}

describe('an import', () => {
  beforeAll(async () => {
    await stack.startWorker();
  });

  test.each<[ArchiveLayout, string, (tar: Buffer) => Buffer]>([
    ['docker-old', 'plain', (tar) => tar],
    ['docker', 'gzip', (tar) => gzipSync(tar)],
    ['oci', 'zstd', zstdFrame],
  ])('of a %s archive, %s, ends with a checked image, and leaves nothing else', async (layout, how, compress) => {
    const tars = [await layer(`one-${layout}`), await layer('two')];
    const tar = await imageArchive(layout, [{ tags: ['tool:1.0'], tars, config: { Env: ['A=b'], Cmd: ['sh'] } }]);
    const view = await importArchive({ archive: compress(tar), name: `${layout}-${how}`, reference: 'tool:1.0' });
    expect(view).toMatchObject({ type: 'import', status: 'completed', error: null, ref: 'tool:1.0' });
    expect(view.result?.steps).toEqual([
      { phase: 'reading', line: 'reading archive...' },
      { phase: 'downloading', line: expect.stringMatching(/^downloading layers \((.+) \/ \1\)\.\.\.$/) },
      { phase: 'flattening', line: 'flattening to ext4...' },
    ]);
    const entry = await stack.store.images.get('local', `${layout}-${how}`);
    expect(entry).toMatchObject({
      manifestDigest: view.result?.digest,
      reference: 'docker.io/library/tool:1.0',
      platform: `linux/${hostArchitecture()}`,
      config: { env: ['A=b'], cmd: ['sh'] },
    });
    const path = stack.store.rootfs.path(entry?.rootfsKey ?? '');
    await run('e2fsck', ['-fn', path], { env: toolPath });
    const { stdout } = await run('debugfs', ['-R', 'cat /etc/two', path], { env: toolPath });
    expect(stdout).toBe('two');
    expect(await stack.leftovers()).toEqual([]);
    expect(await openUploads()).toEqual([]);
    expect(await stack.connection.keys('*partial*')).toEqual([]);
  });

  test('of the same image again builds nothing, and of the layers of a pull fetches nothing', async () => {
    const tar = await layer('shared');
    const pushed = stack.registry.pushImage({ repository: 'library/shared', layers: [{ tar }] });
    await stack.pull({ reference: pushed.reference, name: 'pulled' });
    const archive = await imageArchive('docker', [{ tags: ['shared:1'], tars: [tar] }]);
    expect(await importArchive({ archive, name: 'first' })).toMatchObject({ result: { reused: 'layers' } });
    expect(await importArchive({ archive, name: 'second' })).toMatchObject({ result: { reused: 'rootfs' } });
    expect((await stack.store.images.get('local', 'second'))?.reference).toBe('docker.io/library/shared:1');
  });

  test.each<[string | undefined, string[], string]>([
    ['short:1', ['localhost/too-short:1', 'localhost/short:1'], 'localhost/short:1'],
    ['asked:1', ['localhost/asked:1', 'asked:1'], 'docker.io/library/asked:1'],
    ['tagged:1', ['1'], 'docker.io/library/tagged:1'],
    ['1', ['localhost/tagged:1'], 'localhost/tagged:1'],
    ['1', ['2', '1'], '1'],
    [undefined, ['none//such:1', 'only:1'], 'docker.io/library/only:1'],
    [undefined, ['1'], '1'],
    [undefined, [], 'named'],
  ])('of %s, which the archive calls %j, is recorded as %s', async (reference, tags, recorded) => {
    const archive = await imageArchive('docker-old', [{ tags, tars: [await layer('named')] }]);
    const asked = reference === undefined ? {} : { reference };
    expect(await importArchive({ archive, name: 'named', ...asked })).toMatchObject({ status: 'completed' });
    expect((await stack.store.images.get('local', 'named'))?.reference).toBe(recorded);
  });

  test('of a digest is recorded by the name that the archive has for it', async () => {
    const archive = await imageArchive('docker', [{ tags: ['digested:1'], tars: [await layer('digested')] }]);
    const { result } = await importArchive({ archive, name: 'named' });
    const digest = result?.digest ?? '';
    expect(await importArchive({ archive, name: 'digested', reference: digest })).toMatchObject({ result: { digest } });
    const recorded = async (name: string) => (await stack.store.images.get('local', name))?.reference;
    expect(await recorded('digested')).toBe('docker.io/library/digested:1');
    await importArchive({ archive, name: 'other', reference: `other@${digest}` });
    expect(await recorded('other')).toBe('docker.io/library/digested:1');
  });

  test.each<[string[], string]>([
    [[], `docker.io/org/app:1@sha256:${'a'.repeat(64)}`],
    [['named:1'], 'docker.io/library/named:1'],
  ])('of an archive that calls it %j, by its origin, is recorded as %s', async (tags, recorded) => {
    const archive = await imageArchive('docker-old', [{ tags, tars: [await layer('origin')] }]);
    const requested = `org/app:1@sha256:${'a'.repeat(64)}`;
    const view = await importArchive({ archive, name: 'origin', requested });
    expect(view).toMatchObject({ status: 'completed', ref: requested });
    expect((await stack.store.images.get('local', 'origin'))?.reference).toBe(recorded);
  });

  test('takes the image that is asked for, and says which there are when none is', async () => {
    const archive = await imageArchive('docker-old', [
      { tags: ['tool:1'], tars: [await layer('tool-one')] },
      { tags: ['tool:2'], tars: [await layer('tool-two')] },
    ]);
    const view = await importArchive({ archive, name: 'tool', reference: 'tool:2' });
    const entry = await stack.store.images.get('local', 'tool');
    expect([view.status, entry?.reference]).toEqual(['completed', 'docker.io/library/tool:2']);
    expect(await importArchive({ archive, name: 'none' })).toMatchObject({
      status: 'failed',
      error: {
        code: 'invalid_request',
        message: 'the uploaded archive holds several images; choose one: tool:1, tool:2',
      },
    });
  });

  test.each<[string, () => Promise<Buffer>, string, RegExp]>([
    ['no archive', async () => Buffer.from('hello'), 'layer_corrupt', /^the uploaded archive is not a tar$/],
    ['a zip', async () => Buffer.from('504b030414000000', 'hex'), 'invalid_request', /^the uploaded archive is a zip/],
    ['a tar of something else', () => layer('x'), 'invalid_request', /^the uploaded archive is not an image archive/],
    [
      'one that is cut short',
      async () => gzipSync(await imageArchive('oci', [{ tags: ['a:1'], tars: [await layer('cut')] }])).subarray(0, 300),
      'layer_corrupt',
      /^the uploaded archive is damaged or cut short/,
    ],
    [
      'one whose layer is another',
      async () => {
        const tar = await layer('wrong-bytes');
        const archive = await imageArchive('docker', [{ tags: ['a:1'], tars: [tar] }]);
        archive.write('WRONG', archive.indexOf('wrong-bytes', archive.indexOf(tar) + 512 * 2));
        return archive;
      },
      'layer_corrupt',
      /^the uploaded archive is damaged: /,
    ],
  ])('of %s fails at the first attempt, and leaves nothing', async (what, archive, code, message) => {
    const id = await stack.enqueueImport({ archive: await archive(), name: 'bad' });
    expect([what, await stack.ended(id)]).toMatchObject([
      what,
      { status: 'failed', error: { code, message: expect.stringMatching(message) } },
    ]);
    expect(await stack.job(id)).toMatchObject({ attemptsMade: 1 });
    expect(await stack.leftovers()).toEqual([]);
  });

  test('for a platform that the archive does not have fails', async () => {
    const archive = await imageArchive('oci', [{ tags: ['a:1'], tars: [await layer('foreign')] }]);
    expect(await importArchive({ archive, name: 'foreign', platform: 'linux/s390x' })).toMatchObject({
      status: 'failed',
      error: { code: 'platform_not_found' },
    });
  });

  test('whose archive somebody has removed says so, and is not tried again', async () => {
    await stack.queue.pause();
    const id = await stack.enqueueImport({ archive: Buffer.alloc(1), name: 'removed' });
    await stack.store.uploads.remove(id);
    await stack.queue.resume();
    expect(await stack.ended(id)).toMatchObject({ status: 'failed', error: { code: 'upload_lost' } });
    expect((await stack.job(id)).attemptsMade).toBe(1);
  });

  test('that is cancelled ends at once, and leaves nothing', async () => {
    const busy = await layer('fetched-by-another');
    const tars = [await layer('cancelled'), busy];
    // It has to wait for another that fetches one of its layers.
    const lease = `${KEY_PREFIX}:lease:${layerLease(sha256(busy))}`;
    await stack.connection.set(lease, 'another worker');
    const archive = gzipSync(await imageArchive('docker', [{ tags: ['a:1'], tars }]));
    const id = await stack.enqueueImport({ archive, name: 'cancelled' });
    await eventually(async () => (await stack.view(id)).detail !== null);
    // The upload, and what it was unpacked to.
    expect((await stack.leftovers()).length).toBeGreaterThan(1);
    await cancelTask(stack.queue, stack.relay, id);
    expect(await stack.ended(id)).toMatchObject({ status: 'cancelled', result: null });
    expect(await stack.leftovers()).toEqual([]);
    expect(await stack.connection.keys('*lease*')).toEqual([lease]);
    await stack.connection.del(lease);
  });

  test('whose task is lost has its upload collected, not while it may be on its way; one that waits keeps it, whatever clocks say', async () => {
    const { uploads } = stack.store;
    await stack.queue.pause();
    const archive = await imageArchive('docker', [{ tags: ['a:1'], tars: [await layer('kept')] }]);
    const [lost, kept] = [
      await stack.enqueueImport({ archive, name: 'lost' }),
      await stack.enqueueImport({ archive, name: 'kept' }),
    ];
    await (await stack.job(lost)).remove();
    const isLive = async (id: string) => (await stack.queue.getJob(id)) !== undefined;
    // For this host's clock both came long ago.
    const long = new Date(Date.now() - 3600_000);
    for (const id of [lost, kept]) await utimes(uploads.path(id), long, long);
    const owners = { isArriving: (id: string) => isArriving(stack.connection, id), isLive };
    await noteArrival(stack.connection, lost);
    await collectUploads(stack.store, owners);
    expect(await uploads.size(lost)).toBe(archive.length);
    // What time does.
    expect(await stack.connection.ttl(`${KEY_PREFIX}:arriving:${lost}`)).toBeGreaterThan(0);
    await stack.connection.del(`${KEY_PREFIX}:arriving:${lost}`);
    await collectUploads(stack.store, owners);
    expect(await uploads.size(lost)).toBeUndefined();
    await stack.queue.resume();
    expect(await stack.ended(kept)).toMatchObject({ status: 'completed' });
    expect(await stack.leftovers()).toEqual([]);
  });
});
