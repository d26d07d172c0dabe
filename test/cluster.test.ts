/** The whole service on a Redis Cluster of three nodes: API, a worker process, a pull that is cancelled, one that completes. */

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { queuePull, startTestApi, type TestApi } from '../apps/api/test/support/api.ts';
import { startWorkerProcess, type WorkerProcess } from '../apps/worker/test/support/worker-process.ts';
import { fileLayer } from './support/layer.ts';
import { startCluster, type TestCluster } from './support/redis-cluster.ts';
import { startRegistry, type TestRegistry } from './support/registry.ts';

let cluster: TestCluster;
let registry: TestRegistry;
let api: TestApi;
let worker: WorkerProcess;

beforeAll(async () => {
  cluster = await startCluster();
  registry = await startRegistry();
  api = await startTestApi(cluster.url);
  worker = await startWorkerProcess({ BHATTI_DATA_DIR: api.directory, REDIS_URL: cluster.url, BHATTI_LISTEN: 'none' });
});
afterAll(async () => {
  await worker.end('SIGTERM');
  await api.close();
  await registry.close();
  await cluster.stop();
});

/** Polls the task until the answer contains the text. */
async function until(id: string, wanted: string): Promise<string> {
  for (;;) {
    const { text } = await api.send('GET', `/tasks/${id}?wait=5`);
    if (text.includes(wanted)) return text;
    if (/"status":"(failed|completed|cancelled)"/.test(text)) throw new Error(text);
  }
}

test('pulls complete and are cancelled on a Cluster, all keys in one slot', async () => {
  const layers = [await fileLayer({ 'bin/sh': 'x' })];
  const { reference } = registry.pushImage({ repository: 'library/quick', tag: '1', layers });
  await until(await queuePull(api.send, { ref: reference, name: 'quick' }), '"status":"completed"');
  expect((await api.send('GET', '/images/quick')).status).toBe(200);

  const slow = registry.pushImage({ repository: 'library/slow', tag: '1', layers: [await fileLayer({ f: 'slow' })] });
  registry.plan({ path: slow.layers[0]?.digest ?? '', hang: true });
  const id = await queuePull(api.send, { ref: slow.reference, name: 'slow' });
  await until(id, 'downloading layers');
  expect((await api.send('DELETE', `/tasks/${id}`)).status).toBe(202);
  await until(id, '"status":"cancelled"');

  const sizes = await Promise.all(
    cluster.ports.map(async (port) => {
      const node = new Redis(port);
      const size = await node.dbsize();
      node.disconnect();
      return size;
    }),
  );
  expect(sizes.filter((size) => size > 0)).toHaveLength(1);
});
