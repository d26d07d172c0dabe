import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { startRedis } from '../../../test/support/redis.ts';
import { startWorkerProcess } from './support/worker-process.ts';

test.each([
  ['noeviction', false],
  ['allkeys-lru', true],
])('a worker on a Redis whose policy is %s warns: %s', async (policy, warns) => {
  const redis = await startRedis({ settings: ['--maxmemory-policy', policy] });
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-policy-'));
  try {
    const worker = await startWorkerProcess({ BHATTI_DATA_DIR: directory, REDIS_URL: redis.url });
    expect(await worker.end('SIGTERM')).toBe(0);
    expect(worker.output().includes('its maxmemory-policy is allkeys-lru, it must be noeviction')).toBe(warns);
  } finally {
    await redis.stop();
    await rm(directory, { recursive: true, force: true });
  }
});
