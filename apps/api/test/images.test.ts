import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { startTestApi, type TestApi } from './support/api.ts';
import { putImage } from './support/image.ts';

describe('images', () => {
  let redis: TestRedis;
  let api: TestApi;
  beforeAll(async () => {
    redis = await startRedis();
    api = await startTestApi(redis.url);
  });
  afterAll(async () => {
    await api.close();
    await redis.stop();
  });

  test('are listed by name, each with its file', async () => {
    expect((await api.send('GET', '/images')).body).toEqual({ images: [] });
    const b = await putImage(api.store, { name: 'b', warnings: ['no /bin/sh'] });
    await putImage(api.store, { name: 'a' });
    const answer = await api.send('GET', '/images');
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ images: [{ name: 'a' }, { name: 'b' }] });
    expect((await api.send('GET', '/images/b')).body).toEqual({
      name: 'b',
      ref: 'docker.io/library/alpine:3.20',
      digest: b.manifestDigest,
      platform: 'linux/amd64',
      size_bytes: 536_870_912,
      disk_bytes: 4096,
      created_at: '2026-01-02T03:04:05.000Z',
      path: api.store.rootfs.path(b.rootfsKey),
      warnings: ['no /bin/sh'],
      config: { env: ['PATH=/bin'], cmd: ['/bin/sh'] },
    });
  });

  test('of another owner are not there', async () => {
    await putImage(api.store, { name: 'theirs' }, 'somebody');
    expect((await api.send('GET', '/images/theirs')).status).toBe(404);
    expect((await api.send('DELETE', '/images/theirs')).status).toBe(404);
    expect((await api.send('GET', '/images')).text).not.toContain('theirs');
    expect(await api.store.images.get('somebody', 'theirs')).not.toBeNull();
  });

  test('are deleted once', async () => {
    await putImage(api.store, { name: 'short-lived' });
    const answer = await api.send('DELETE', '/images/short-lived');
    expect(answer.status).toBe(204);
    expect(answer.text).toBe('');
    expect((await api.send('GET', '/images/short-lived')).status).toBe(404);
    expect((await api.send('DELETE', '/images/short-lived')).status).toBe(404);
  });

  test('an image may be called pull', async () => {
    await putImage(api.store, { name: 'pull' });
    expect((await api.send('GET', '/images/pull')).body).toMatchObject({ name: 'pull' });
    expect((await api.send('DELETE', '/images/pull')).status).toBe(204);
  });

  test.each(['..%2F..%2Ftoken', '.hidden', '%00', 'a%2Fb', 'x'.repeat(300), '-a', '%20'])(
    'a name that cannot be one is not looked for: %s',
    async (name) => {
      expect(await api.send('GET', `/images/${name}`)).toMatchObject({ status: 404, body: { code: 'not_found' } });
      expect(await api.send('DELETE', `/images/${name}`)).toMatchObject({ status: 404 });
    },
  );
});
