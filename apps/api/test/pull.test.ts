import { rm, truncate } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { hostPlatform } from '@bhatti/oci';
import { LOCAL_USER, StoreError } from '@bhatti/store';
import type { RedisClient } from '@bhatti/tasks';
import {
  connectRedis,
  createTaskQueue,
  loadSecretKey,
  openCredentials,
  sealedAuthOf,
  type TaskQueue,
} from '@bhatti/tasks';
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { pino } from 'pino';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { startRegistry, type TestRegistry } from '../../../test/support/registry.ts';
import { alreadyPulled } from '../images/already-pulled.ts';
import { toPullRequest } from '../images/pull-request.ts';
import { errorBody, queuePull, startTestApi, type TestApi } from './support/api.ts';
import { putImage } from './support/image.ts';

describe('POST /images/pull', () => {
  let redis: TestRedis;
  let api: TestApi;
  let connection: RedisClient;
  let queue: TaskQueue;
  beforeAll(async () => {
    redis = await startRedis();
    api = await startTestApi(redis.url);
    connection = connectRedis(redis.url, { use: 'worker' });
    queue = createTaskQueue(connection);
  });
  beforeEach(() => queue.obliterate({ force: true }));
  afterAll(async () => {
    await queue.close();
    connection.disconnect();
    await api.close();
    await redis.stop();
  });

  test('queues the pull in canonical form, under its derived name', async () => {
    const answer = await api.send('POST', '/images/pull', { body: { ref: 'python:3.12' } });
    expect(answer.status).toBe(202);
    expect(answer.body).toEqual({
      task_id: expect.stringMatching(/^tsk_[a-z2-7]{12}$/),
      status: 'queued',
      name: 'python-3.12',
    });
    const [job] = await queue.getJobs(['prioritized']);
    expect(job?.data).toEqual({
      reference: 'docker.io/library/python:3.12',
      requested: 'python:3.12',
      name: 'python-3.12',
      owner: 'local',
      requestId: expect.stringMatching(/^req_/),
    });
  });

  test('the id of the request goes with the task', async () => {
    const headers = { 'x-request-id': 'mine-1' };
    const { body } = await api.send('POST', '/images/pull', { body: { ref: 'alpine' }, headers });
    const [job] = await queue.getJobs(['prioritized']);
    expect(job?.data.requestId).toBe('mine-1');
    expect(body).toMatchObject({ task_id: job?.id });
    const queued = api
      .log()
      .split('\n')
      .find((line) => line.includes('pull queued') && line.includes('mine-1'));
    expect(JSON.parse(queued ?? '')).toMatchObject({ request_id: 'mine-1', task_id: job?.id });
  });

  test('passes on name, platform, size and force', async () => {
    const id = await queuePull(api.send, {
      ref: 'ghcr.io/myorg/base:latest',
      name: 'base',
      platform: 'aarch64',
      size: '512MB',
      force: true,
    });
    expect((await queue.getJob(id))?.data).toEqual({
      reference: 'ghcr.io/myorg/base:latest',
      requested: 'ghcr.io/myorg/base:latest',
      name: 'base',
      platform: 'linux/arm64',
      sizeBytes: 512_000_000,
      owner: 'local',
      requestId: expect.stringMatching(/^req_/),
      force: true,
    });
  });

  test.each([
    [{ ref: 'Not A Reference' }, 'invalid_reference'],
    [{ ref: 'alpine', name: '.hidden' }, 'invalid_name'],
    [{ ref: 'alpine', platform: 'windows/amd64' }, 'invalid_platform'],
    [{ ref: 'alpine', platform: 'foo' }, 'invalid_platform'],
    [{ ref: 'alpine', size: 'huge' }, 'invalid_request'],
    [{ ref: 'alpine', auth: 'nobody' }, 'invalid_request'],
  ])('refuses %j', async (body, code) => {
    const answer = await api.send('POST', '/images/pull', { body });
    expect(answer.status).toBe(400);
    expect(errorBody.parse(answer.body).code).toBe(code);
    expect(await queue.count()).toBe(0);
  });

  test('credentials are sealed before they enter Redis, and are nowhere else', async () => {
    const secret = 'hunter2-correct-horse';
    const id = await queuePull(api.send, { ref: 'ghcr.io/org/private', auth: `robot:${secret}` });
    const job = await queue.getJob(id);
    const key = await loadSecretKey({ path: api.store.paths.secretKeyFile, env: {} });
    expect(openCredentials((job && sealedAuthOf(job.data)) ?? '', key, 'ghcr.io')).toEqual({
      username: 'robot',
      password: secret,
    });

    await api.send('POST', '/images/pull', { body: { ref: 'BAD', auth: `robot:${secret}` } });
    await api.send('POST', '/images/pull', { raw: `{"ref":"alpine","auth":"robot:${secret}"` });
    await api.send('POST', '/images/pull', { body: { ref: 'alpine', auth: secret } });
    const task = await api.send('GET', `/tasks/${id}`);
    const forms = [secret, Buffer.from(secret).toString('base64'), Buffer.from(`robot:${secret}`).toString('base64')];
    for (const form of forms) {
      expect(api.log()).not.toContain(form);
      expect(task.text).not.toContain(form);
      expect(await everythingIn(connection)).not.toContain(form);
    }
  });

  test('an identical pull in flight is the same task, a different one is not', async () => {
    const body = { ref: 'alpine:3.20' };
    const ids = await Promise.all(Array.from({ length: 20 }, () => queuePull(api.send, body)));
    expect(new Set(ids).size).toBe(1);
    // The reference counts, not how it is written.
    expect(await queuePull(api.send, { ref: 'docker.io/library/alpine:3.20' })).toBe(ids[0]);
    const others = [{ name: 'other' }, { platform: 'linux/s390x' }, { size: '2GB' }, { ref: 'alpine:3.19' }];
    for (const other of others) expect(await queuePull(api.send, { ...body, ...other })).not.toBe(ids[0]);
    expect(await queue.count()).toBe(5);
  });

  test('a cancelled pull can be asked for again', async () => {
    const first = await queuePull(api.send, { ref: 'alpine' });
    expect((await api.send('DELETE', `/tasks/${first}`)).status).toBe(202);
    const second = await queuePull(api.send, { ref: 'alpine' });
    expect(second).not.toBe(first);
    expect((await api.send('GET', `/tasks/${second}`)).body).toMatchObject({ status: 'queued' });
  });

  describe('when there is an image of that name', () => {
    let registry: TestRegistry;
    beforeAll(async () => {
      registry = await startRegistry();
    });
    afterAll(() => registry.close());

    function push(repository: string, text: string) {
      return registry.pushImage({ repository, tag: '1', layers: [{ tar: Buffer.from(text) }] });
    }

    test('the digest decides: the same exists, another is pulled', async () => {
      const { reference, digest } = push('library/moving', 'one');
      await putImage(api.store, { name: 'moving-1', manifestDigest: digest });
      const answer = await api.send('POST', '/images/pull', { body: { ref: reference } });
      expect(answer).toMatchObject({ status: 200, body: { status: 'exists', image: 'moving-1', digest } });
      expect(await queue.count()).toBe(0);

      expect(await api.send('POST', '/images/pull', { body: { ref: reference, force: true } })).toMatchObject({
        status: 202,
      });
      push('library/moving', 'two');
      expect(await api.send('POST', '/images/pull', { body: { ref: reference } })).toMatchObject({ status: 202 });
    });

    test('a HEAD request tells that it is the same, once it is known what the tag points to', async () => {
      const { reference, digest, descriptor } = push('library/listed', 'one');
      const entry = await putImage(api.store, { name: 'listed-1', manifestDigest: digest });
      const ask = async () => {
        registry.requests.length = 0;
        expect((await api.send('POST', '/images/pull', { body: { ref: reference } })).status).toBe(200);
        return registry.requests.filter(({ path }) => path.includes('/manifests/')).map(({ method }) => method);
      };
      expect(await ask()).toEqual(['GET']);
      expect(await ask()).toEqual(['HEAD']);
      registry.pushIndex('library/listed', '1', [{ ...descriptor, platform: hostPlatform() }]);
      expect(await ask()).toEqual(['HEAD', 'GET']);
      expect(await ask()).toEqual(['HEAD']);
      expect(await api.store.images.get(LOCAL_USER, 'listed-1')).toMatchObject(entry);
    });

    test('another size or platform than the one that is there is pulled', async () => {
      const { reference, digest } = push('library/sized', 'one');
      await putImage(api.store, { name: 'sized-1', manifestDigest: digest, sizeBytes: 512_000_000 });
      const ask = (more: object) => api.send('POST', '/images/pull', { body: { ref: reference, ...more } });
      expect((await ask({ size: '1GB' })).status).toBe(202);
      expect((await ask({ platform: 'linux/riscv64' })).status).toBe(202);
      expect((await ask({ size: '512MB' })).status).toBe(200);
    });

    test('the platform that is asked for decides which digest is meant', async () => {
      const [own, foreign] = [push('library/platforms', 'own'), push('library/platforms', 'foreign')];
      const riscv64 = { os: 'linux', architecture: 'riscv64' };
      registry.pushIndex('library/platforms', '1', [
        { ...own.descriptor, platform: hostPlatform() },
        { ...foreign.descriptor, platform: riscv64 },
      ]);
      await putImage(api.store, { name: 'platforms-1', manifestDigest: foreign.digest });
      const ask = (more: object) => api.send('POST', '/images/pull', { body: { ref: own.reference, ...more } });
      expect((await ask({ platform: 'linux/riscv64' })).status).toBe(200);
      expect((await ask({})).status).toBe(202);
    });

    test('one of a private registry is known with the credentials of the request', async () => {
      const auth = { kind: 'basic', username: 'robot', password: 'secret' } as const;
      const closed = await startRegistry({ auth });
      const { reference, digest } = closed.pushImage({
        repository: 'own',
        tag: '1',
        layers: [{ tar: Buffer.from('one') }],
      });
      await putImage(api.store, { name: 'own-1', manifestDigest: digest });
      const ask = (more: object) => api.send('POST', '/images/pull', { body: { ref: reference, ...more } });
      expect((await ask({ auth: 'robot:secret' })).status).toBe(200);
      expect((await ask({})).status).toBe(202);
      await closed.close();
    });

    test('one with an overlay is left to a task, also where there is none any more', async () => {
      const { reference, digest } = push('library/overlaid', 'one');
      await putImage(api.store, { name: 'overlaid-1', manifestDigest: digest });
      const resolution = { manifestDigest: digest, targetDigest: digest, wantedPlatform: 'linux/amd64' };
      const known = { isUnchanged: async () => true, resolveDigests: async () => resolution };
      const services = { store: api.store, registry: known, log: pino({ level: 'silent' }) };
      const asked = (overlay: boolean) =>
        alreadyPulled(
          { ...services, overlay },
          LOCAL_USER,
          toPullRequest({ ref: reference }),
          AbortSignal.timeout(1e6),
        );
      expect(await asked(false)).toMatchObject({ name: 'overlaid-1' });
      expect(await asked(true)).toBeNull();
      await putImage(api.store, { name: 'overlaid-1', manifestDigest: digest }, LOCAL_USER, { overlay: 'sha256:1' });
      registry.requests.length = 0;
      expect((await api.send('POST', '/images/pull', { body: { ref: reference } })).status).toBe(202);
      expect(registry.requests).toEqual([]);
    });

    test('that what it points to cannot be noted does not matter', async () => {
      const { digest } = push('library/unnoted', 'one');
      const entry = await putImage(api.store, { name: 'unnoted-1', manifestDigest: digest });
      const resolution = { manifestDigest: digest, targetDigest: digest, wantedPlatform: 'linux/amd64' };
      const registry = { isUnchanged: async () => false, resolveDigests: async () => resolution };
      const full = new StoreError('no_space', 'no space left');
      const noted = jest.spyOn(api.store.images, 'replace').mockRejectedValueOnce(full);
      const services = { store: api.store, registry, overlay: false, log: pino({ level: 'silent' }) };
      const asked = toPullRequest({ ref: 'unnoted:1' });
      expect(await alreadyPulled(services, LOCAL_USER, asked, AbortSignal.timeout(1e6))).toEqual(entry);
      expect(noted).toHaveBeenCalledTimes(1);
      noted.mockRestore();
    });

    test.each(['rootfs.ext4', 'image.json'])('one that has lost its %s is left to a task', async (lost) => {
      const { reference, digest } = push('library/damaged', lost);
      const { rootfsKey } = await putImage(api.store, { name: 'damaged-1', manifestDigest: digest });
      await rm(join(dirname(api.store.rootfs.path(rootfsKey)), lost));
      expect((await api.send('POST', '/images/pull', { body: { ref: reference } })).status).toBe(202);
    });

    test('one whose file was cut short is left to a task', async () => {
      const { reference, digest } = push('library/short', 'one');
      const { rootfsKey } = await putImage(api.store, { name: 'short-1', manifestDigest: digest });
      const ask = async () => (await api.send('POST', '/images/pull', { body: { ref: reference } })).status;
      expect(await ask()).toBe(200);
      await truncate(api.store.rootfs.path(rootfsKey), 4);
      expect(await ask()).toBe(202);
    });

    test('no blob and no body is fetched for a name that is not there', async () => {
      const { reference } = push('library/unknown', 'one');
      registry.requests.length = 0;
      expect((await api.send('POST', '/images/pull', { body: { ref: reference } })).status).toBe(202);
      expect(registry.requests).toEqual([]);
    });

    test.each([
      ['refuses', { status: 403 }],
      ['answers garbage', { body: '<html>' }],
      ['fails', { status: 500 }],
    ])('a registry that %s leaves it to a task', async (_what, fault) => {
      const { reference, digest } = push('library/faulty', 'one');
      await putImage(api.store, { name: 'faulty-1', manifestDigest: digest });
      registry.plan({ path: 'library/faulty', ...fault });
      expect((await api.send('POST', '/images/pull', { body: { ref: reference } })).status).toBe(202);
      registry.clearFaults();
    });

    test('a registry that is not there leaves it to a task', async () => {
      const reference = `127.0.0.1:${await unusedPort()}/library/gone:1`;
      await putImage(api.store, { name: 'gone-1' });
      expect((await api.send('POST', '/images/pull', { body: { ref: reference } })).status).toBe(202);
    });
  });
});

async function everythingIn(connection: RedisClient): Promise<string> {
  let text = '';
  for (const key of await connection.keys('*')) {
    text += `${key}\n`;
    const dump = await connection.dumpBuffer(key);
    // A dump may be compressed, so hashes, which hold the job data, are read directly.
    text +=
      (await connection.type(key)) === 'hash' ? JSON.stringify(await connection.hgetall(key)) : dump.toString('latin1');
  }
  return text;
}

function unusedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
