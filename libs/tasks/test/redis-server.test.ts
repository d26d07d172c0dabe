import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { checkRedisServer, connectRedis } from '../index.ts';

describe('checkRedisServer', () => {
  let server: TestRedis;

  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  test('is content with a server as it should be, and warns of one that throws tasks away', async () => {
    const redis = connectRedis(server.url, { use: 'request' });
    const good = await checkRedisServer(redis);
    expect(good.product).toMatch(/^(Redis|Valkey) \d+\.\d+/);
    expect(good.warnings).toEqual([]);
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    expect((await checkRedisServer(redis)).warnings).toEqual([expect.stringContaining('allkeys-lru')]);
    redis.disconnect();
  });

  test('says when it does not answer', async () => {
    const redis = connectRedis(`${server.directory}/nobody.sock`, { use: 'request' });
    await expect(checkRedisServer(redis)).rejects.toMatchObject({ code: 'redis_unavailable', retryable: true });
    redis.disconnect();
  });
});
