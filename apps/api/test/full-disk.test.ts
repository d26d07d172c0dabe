import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { loadSecretKey } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { loadToken } from '../access/token-file.ts';
import { ApiRecordFile } from '../api-record.ts';
import { startTestApi, type TestApi } from './support/api.ts';
import { putImage } from './support/image.ts';

const run = promisify(execFile);
const MEBIBYTE = 2 ** 20;

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('skipped: the API on a full disk, because only root can mount a tmpfs\n');

/** Of 80 MiB, 64 stay free, and 16 are left for uploads. */
(isRoot ? describe : describe.skip)('the disk of the data directory is full:', () => {
  let redis: TestRedis;
  let directory: string;
  let mounted = false;
  let api: TestApi;

  beforeAll(async () => {
    redis = await startRedis();
    directory = await mkdtemp(join(tmpdir(), 'bhatti-api-disk-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=80m,mode=0700', 'tmpfs', directory]);
    mounted = true;
    api = await startTestApi(redis.url, undefined, undefined, directory);
  });
  afterEach(() => rm(join(directory, 'ballast'), { force: true }));
  afterAll(async () => {
    await api?.close();
    await redis?.stop();
    if (mounted) await run('umount', [directory]);
    await rm(directory, { recursive: true, force: true });
  });

  const left = () => readdir(join(directory, 'uploads'));
  const fill = () =>
    expect(run('dd', ['if=/dev/zero', `of=${join(directory, 'ballast')}`, 'bs=1M'])).rejects.toThrow('No space left');
  const noSpace = { status: 507, body: { code: 'no_space' } };

  /** Without a length, as `docker save | curl -T -` sends it. */
  function openUpload(headers = {}) {
    const target = { socketPath: api.socketPath, method: 'POST', path: '/images/import?name=app' };
    const sending = httpRequest({ ...target, headers });
    // The server may cut the rest off once it has answered.
    sending.on('error', () => {});
    const answered = new Promise<IncomingMessage>((resolve) => sending.once('response', resolve));
    const answer = answered.then(async (response) => {
      const body: unknown = JSON.parse((await buffer(response)).toString());
      return { status: response.statusCode, body };
    });
    return { sending, answer };
  }

  test('/ready says so, and leaves nothing of what it tried to write', async () => {
    await fill();
    const { status, body } = await api.send('GET', '/ready');
    expect({ status, body }).toMatchObject({ status: 503, body: { checks: { data_dir: { ok: false } } } });
    expect(await readdir(directory, { recursive: true })).not.toContainEqual(expect.stringContaining('write-check'));
  });

  test('an archive that is too large is refused, by its length or on its way, and nothing of it stays', async () => {
    const announced = openUpload({ 'Content-Length': 20 * MEBIBYTE });
    announced.sending.flushHeaders();
    expect(await announced.answer).toMatchObject(noSpace);
    announced.sending.destroy();
    const { sending, answer } = openUpload();
    for (let sent = 0; sent < 34; sent += 1) sending.write(Buffer.alloc(MEBIBYTE));
    expect(await answer).toMatchObject(noSpace);
    sending.destroy();
    expect(await left()).toEqual([]);
  });

  test('an archive during which others take the last byte is refused, and nothing of it stays', async () => {
    const { sending, answer } = openUpload();
    sending.write(Buffer.alloc(2 * MEBIBYTE));
    while ((await left()).length === 0) await sleep(10);
    await fill();
    sending.write(Buffer.alloc(2 * MEBIBYTE));
    expect(await answer).toMatchObject(noSpace);
    sending.destroy();
    expect(await left()).toEqual([]);
  });

  test('images are read, not changed, and deleted; once there is room, everything goes on', async () => {
    const entry = await putImage(api.store, { name: 'app' }, 'local', { content: 'content' });
    await fill();
    expect(await api.send('PUT', '/images/app/share')).toMatchObject(noSpace);
    expect(await api.store.images.get('local', 'app')).toEqual(entry);
    expect(await readdir(join(directory, 'images', 'local'))).toEqual(['app.json']);
    for (const path of ['/health', '/images', '/images/app']) expect((await api.send('GET', path)).status).toBe(200);
    expect((await api.send('GET', '/images/app/rootfs')).text).toBe('content');
    expect(await api.send('POST', '/images/import?name=other', { raw: 'small' })).toMatchObject(noSpace);
    expect((await api.send('DELETE', '/images/app')).status).toBe(204);
    expect((await api.send('POST', '/images/prune', { body: {} })).status).toBe(200);
    await rm(join(directory, 'ballast'));
    expect((await api.send('POST', '/images/import?name=other', { raw: 'small' })).status).toBe(202);
    expect(await left()).toHaveLength(1);
  });

  test('nothing of a token, a key or a record that could not be written is left', async () => {
    const folder = join(directory, 'new');
    await mkdir(folder);
    await fill();
    const full = { code: 'ENOSPC' };
    await expect(loadToken(join(folder, 'token'))).rejects.toMatchObject(full);
    await expect(loadSecretKey({ path: join(folder, 'secret.key'), env: {} })).rejects.toMatchObject(full);
    const record = { listen: null, taken: null, startedAt: '2026-01-02T03:04:05.678Z' };
    await expect(new ApiRecordFile(folder).write(record)).rejects.toMatchObject(full);
    expect(await readdir(folder)).toEqual([]);
  });
});
