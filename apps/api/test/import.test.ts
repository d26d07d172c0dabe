import { readdir, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { connectRedis, createTaskQueue, isArriving, type RedisClient, type TaskQueue, TaskView } from '@bhatti/tasks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Uploads } from '../../../libs/store/uploads.ts';
import { type ArchiveImage, type ArchiveLayout, imageArchive } from '../../../test/support/archive.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { errorBody, startTestApi, type TestApi } from './support/api.ts';

let redis: TestRedis;
let connection: RedisClient;
let queue: TaskQueue;
let api: TestApi;

beforeAll(async () => {
  redis = await startRedis();
  connection = connectRedis(redis.url, { use: 'worker' });
  queue = createTaskQueue(connection);
  api = await startTestApi(redis.url);
});
afterAll(async () => {
  await api.close();
  await queue.close();
  connection.disconnect();
  await redis.stop();
});
beforeEach(() => queue.obliterate({ force: true }));
afterEach(async () => {
  for (const name of await uploads()) await api.store.uploads.remove(name);
});

const uploads = () => readdir(join(api.directory, 'uploads'));

/** Sends the head of an upload, and then what the test wants. Resolves with everything that was answered once the connection ends. */
function rawUpload(lines: readonly string[], query = '?name=raw') {
  const socket = connect(api.socketPath);
  let received = '';
  socket.on('data', (data) => {
    received += data.toString();
  });
  socket.on('error', () => {});
  socket.write(`${[`POST /images/import${query} HTTP/1.1`, 'Host: x', ...lines].join('\r\n')}\r\n\r\n`);
  return {
    socket,
    received: () => received,
    answered: async (pattern: RegExp) => eventually(async () => pattern.test(received)),
  };
}

describe('POST /images/import', () => {
  test('keeps the body for its task, and tells which that is', async () => {
    const answer = await api.send(
      'POST',
      '/images/import?ref=ghcr.io/org/app:1.2&platform=arm64&size=1GiB&force=true',
      {
        raw: Buffer.alloc(300_000, 'x'),
      },
    );
    expect(answer).toMatchObject({ status: 202, body: { status: 'queued', name: 'app-1.2' } });
    const [id = ''] = await uploads();
    expect(answer.body).toMatchObject({ task_id: id });
    // Noted before the upload is there, so that no collector takes it for an orphan.
    expect(await isArriving(connection, id)).toBe(true);
    const file = await stat(api.store.uploads.path(id));
    expect([file.size, file.mode & 0o777]).toEqual([300_000, 0o600]);
    expect((await queue.getJob(id))?.data).toEqual({
      type: 'import',
      reference: 'ghcr.io/org/app:1.2',
      requested: 'ghcr.io/org/app:1.2',
      name: 'app-1.2',
      platform: 'linux/arm64',
      sizeBytes: 2 ** 30,
      owner: 'local',
      force: true,
      requestId: expect.any(String),
      archiveBytes: 300_000,
    });
    const view = TaskView.parse((await api.send('GET', `/tasks/${id}`)).body);
    expect(view).toMatchObject({ type: 'import', status: 'queued', name: 'app-1.2', ref: 'ghcr.io/org/app:1.2' });
  });

  test('of an image that has no name in its archive keeps the reference that it came by', async () => {
    const origin = `org/app:1@sha256:${'a'.repeat(64)}`;
    const { body } = await api.send('POST', `/images/import?origin=${encodeURIComponent(origin)}`, {
      raw: 'an archive',
    });
    expect(body).toMatchObject({ name: 'app-1' });
    const [id = ''] = await uploads();
    const data = (await queue.getJob(id))?.data;
    expect(data).toMatchObject({ requested: origin, name: 'app-1' });
    expect(data?.reference).toBeUndefined();
  });

  test.each([
    ['?name=-no', 'invalid_name'],
    ['?ref=UPPER:1', 'invalid_reference'],
    ['?origin=UPPER:1&name=app', 'invalid_reference'],
    ['?name=a&platform=windows/amd64', 'invalid_platform'],
    ['?name=a&platform=foo', 'invalid_platform'],
    ['?name=a&size=huge', 'invalid_request'],
    ['?name=a&force=yes', 'invalid_request'],
    ['?name=a&name=b', 'invalid_request'],
    ['?name=a&tag=b', 'invalid_request'],
  ])('%s is refused as %s before the body is read', async (query, code) => {
    const refused = rawUpload(['Content-Length: 5', 'Expect: 100-continue'], query);
    await refused.answered(/}\n$/);
    refused.socket.destroy();
    expect(refused.received()).toMatch(/^HTTP\/1\.1 400 /);
    expect(refused.received()).toContain(`"code":"${code}"`);
    expect(await uploads()).toEqual([]);
  });

  test('a client that asks first is refused without sending, and told to go on where all is well', async () => {
    const wrong = rawUpload(['Content-Length: 99999999999999', 'Expect: 100-continue']);
    await wrong.answered(/^HTTP\/1\.1 507 .*"code":"no_space"/s);
    wrong.socket.destroy();
    const right = rawUpload(['Content-Length: 5', 'Expect: 100-continue']);
    await right.answered(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    right.socket.write('bytes');
    await right.answered(/HTTP\/1\.1 202 Accepted/);
    right.socket.destroy();
    expect(await uploads()).toHaveLength(1);
  });

  test('an archive in a form is refused before it is sent', async () => {
    const form = ['Content-Length: 99', 'Content-Type: Multipart/form-data; boundary=x', 'Expect: 100-continue'];
    const refused = rawUpload(form);
    await refused.answered(/}\n$/);
    refused.socket.destroy();
    expect(refused.received()).toMatch(/^HTTP\/1\.1 415 .*not a form that holds it.*"code":"unsupported_media_type"/s);
    expect(await uploads()).toEqual([]);
  });

  test('a body that goes on after a refusal is not read for long', async () => {
    const refused = rawUpload(['Content-Length: 99999999999999']);
    const ended = new Promise((resolve) => refused.socket.once('close', resolve));
    const sending = setInterval(() => refused.socket.write('x'.repeat(1000)), 50);
    await refused.answered(/"code":"no_space"/);
    await ended;
    clearInterval(sending);
  });

  test.each([
    ['', '1f8b0800000000000003', 'send it uncompressed'],
    ['', '28b52ffd0458010000', 'compressed archive (zstd)'],
    ['?name=a', 'fd377a585a000004', 'the archive is xz'],
  ])('what the first bytes tell (%s, %s) is told at once, and nothing kept', async (query, head, message) => {
    const refused = rawUpload(['Content-Length: 99999'], query);
    const bytes = Buffer.from(head, 'hex');
    refused.socket.write(bytes.subarray(0, 3));
    refused.socket.write(bytes.subarray(3));
    await refused.answered(/"code":"invalid_request"/);
    expect(refused.received()).toMatch(/^HTTP\/1\.1 400 /);
    expect(refused.received()).toContain(message);
    expect(await uploads()).toEqual([]);
    refused.socket.destroy();
  });

  test('a body that goes on after its first bytes were refused is not read for long', async () => {
    const refused = rawUpload(['Content-Length: 9999999'], '');
    const ended = new Promise((resolve) => refused.socket.once('close', resolve));
    refused.socket.write(Buffer.from('1f8b0800', 'hex'));
    const sending = setInterval(() => refused.socket.write('x'.repeat(1000)), 50);
    await refused.answered(/send it uncompressed/);
    await ended;
    clearInterval(sending);
  });

  test('a refused archive that has come whole leaves its connection to the next request', async () => {
    const refused = rawUpload(['Content-Length: 500000'], '');
    refused.socket.write(Buffer.concat([Buffer.from('1f8b0800', 'hex'), Buffer.alloc(499_996)]));
    await refused.answered(/send it uncompressed/);
    refused.socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await refused.answered(/"status":"ok"/);
    refused.socket.destroy();
    expect(await uploads()).toEqual([]);
  });

  test('a client that goes away leaves nothing', async () => {
    const logged = api.log().length;
    const { socket } = rawUpload(['Transfer-Encoding: chunked']);
    socket.write('5\r\nbytes\r\n');
    await eventually(async () => (await uploads()).length === 1);
    socket.destroy();
    await eventually(async () => (await uploads()).length === 0);
    expect(await queue.count()).toBe(0);
    expect(api.log().slice(logged)).not.toContain('"level":50');
  });

  describe('without a name', () => {
    const archive = (layout: ArchiveLayout, ...tags: string[][]) =>
      imageArchive(
        layout,
        tags.map((each, at) => ({ tags: each, tars: [Buffer.from(`layer ${at}`)] })),
      );

    test.each(['docker', 'docker-old'] as const)('it is the archive’s (%s), also when sent again', async (layout) => {
      const raw = await archive(layout, ['python:3.12', 'python:latest']);
      const headers = { 'idempotency-key': `named-by-${layout}` };
      const answer = await api.send('POST', '/images/import', { raw, headers });
      expect(answer).toMatchObject({ status: 202, body: { name: 'python-3.12' } });
      const again = await api.send('POST', '/images/import', { raw, headers });
      expect(again.body).toEqual(answer.body);
      const [id = ''] = await uploads();
      const requested = layout === 'docker' ? 'docker.io/library/python:3.12' : 'python:3.12';
      expect((await queue.getJob(id))?.data).toMatchObject({ name: 'python-3.12', reference: requested, requested });
    });

    test.each<[string, () => Promise<Buffer> | Buffer, string]>([
      [
        'several images',
        () => archive('docker-old', ['a:1'], ['b:2']),
        'several images; choose one by ?ref= (--ref of bhatti image import): "a:1", "b:2"',
      ],
      ['no name', () => archive('docker-old', []), 'does not say what its image is called: give it a name (?name=NAME'],
      ['a tag alone', () => archive('oci', ['app:1']), 'tells the tag alone, "1": give it a name'],
      ['no reference', () => archive('docker-old', ['NO:1']), 'calls its image "NO:1", which is no reference'],
      ['no image', () => archive('oci'), 'the archive holds no image'],
      ['compression', async () => gzipSync(await archive('docker', ['a:1'])), 'send it uncompressed'],
      ['no archive', () => Buffer.alloc(5000, 'x'), 'the archive is not a tar'],
      ['half an archive', async () => (await archive('docker', ['a:1'])).subarray(0, 1500), 'the archive is cut short'],
    ])('%s is told, and nothing kept', async (_what, make, message) => {
      const logged = api.log().length;
      const answer = await api.send('POST', '/images/import', { raw: await make() });
      expect([answer.status, errorBody.parse(answer.body).code]).toEqual([400, 'invalid_request']);
      expect(errorBody.parse(answer.body).error).toContain(message);
      expect(await uploads()).toEqual([]);
      expect(await queue.count()).toBe(0);
      expect(api.log().slice(logged)).not.toContain('"level":50');
    });
  });

  describe('chosen by a word', () => {
    const layer = (text: string) => [Buffer.from(text)];
    const twoTags = [{ tags: ['app:v1', 'app:v2'], tars: layer('app') }];
    const tagAndName = [...twoTags, { tags: ['v2:latest'], tars: layer('other') }];

    test.each<[string, ArchiveLayout, ArchiveImage[], string, string, string]>([
      ['its tag', 'docker', twoTags, 'v2', 'app-v2', 'docker.io/library/app:v2'],
      ['its tag', 'docker-old', twoTags, 'v2', 'app-v2', 'app:v2'],
      ['its name, which another has as its tag', 'docker-old', tagAndName, 'v2', 'v2-latest', 'v2'],
      ['its name', 'docker-old', twoTags, 'app', 'app-latest', 'app'],
    ])('that is %s (%s), an image is named as in the archive', async (_what, layout, images, ref, name, reference) => {
      const raw = await imageArchive(layout, images);
      const headers = { 'idempotency-key': `${layout}-${name}-${images.length}` };
      for (const _ of ['first', 'repeated']) {
        const answer = await api.send('POST', `/images/import?ref=${ref}`, { raw, headers });
        expect(answer).toMatchObject({ status: 202, body: { name } });
      }
      const [id = ''] = await uploads();
      expect((await queue.getJob(id))?.data).toMatchObject({ name, reference });
    });

    test('that is its tag, it has to be given a name where the archive tells no more', async () => {
      const raw = await imageArchive('oci', [{ tags: ['app:v1'], tars: layer('app') }]);
      const answer = await api.send('POST', '/images/import?ref=v1', { raw });
      expect([answer.status, errorBody.parse(answer.body).error]).toEqual([
        400,
        expect.stringContaining('tells the tag alone, "v1": give it a name'),
      ]);
      expect(await uploads()).toEqual([]);
      const named = await api.send('POST', '/images/import?ref=v1&name=app', { raw });
      expect(named).toMatchObject({ status: 202, body: { name: 'app' } });
    });
  });

  test('what is wrong with an upload is told also where it cannot be removed', async () => {
    const removing = jest.spyOn(Uploads.prototype, 'remove').mockRejectedValue(new Error('the disk failed'));
    try {
      const empty = await api.send('POST', '/images/import?name=empty', { raw: '' });
      expect([empty.status, errorBody.parse(empty.body).error]).toEqual([
        400,
        expect.stringContaining('the archive is empty'),
      ]);
      const nameless = await api.send('POST', '/images/import', { raw: Buffer.alloc(2048) });
      expect([nameless.status, errorBody.parse(nameless.body).code]).toEqual([400, 'invalid_request']);
      expect(removing).toHaveBeenCalledTimes(2);
    } finally {
      removing.mockRestore();
    }
  });

  test('an empty body is refused', async () => {
    const answer = await api.send('POST', '/images/import?name=a');
    expect(answer.status).toBe(400);
    expect(errorBody.parse(answer.body).error).toMatch(/^the archive is empty/);
    expect(await uploads()).toEqual([]);
  });
});
