/**
 * `npm run bench -- scaling`: pulls a minute with 1, 2 and 4 workers, from slow registries (100 ms to the first byte, 50 Mbit/s
 * each). Another worker should help as long as pulls wait for the network, not the machine.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectRedis, createTaskQueue, enqueuePull, findTask, isEnded } from '@bhatti/tasks';
import { fileLayer } from '../test/support/layer.ts';
import { startRedis } from '../test/support/redis.ts';
import { startRegistry } from '../test/support/registry.ts';
import { Program } from './chaos/program.ts';
import { Random } from './random.ts';

const PULLS = 32;
const LAYER_BYTES = 12_500_000;
const SLOW = { path: '/v2/', delayMs: 100, bytesPerSecond: 50e6 / 8 };
const WORKERS = [1, 2, 4] as const;

/** Prints a table. */
export async function measureScaling(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-scaling-'));
  const random = new Random(1);
  const registries = await Promise.all(Array.from({ length: PULLS }, () => startRegistry({ faults: [SLOW] })));
  try {
    const references: string[] = [];
    for (const registry of registries) {
      const layer = { ...(await fileLayer({ data: random.bytes(LAYER_BYTES) })), compression: 'none' as const };
      references.push(registry.pushImage({ repository: 'bench/slow', tag: '1', layers: [layer] }).reference);
    }
    const rates: number[] = [];
    for (const workers of WORKERS)
      rates.push(await pullsPerMinute(join(directory, String(workers)), workers, references));
    console.log('| workers | pulls a minute | growth |\n|---|---|---|');
    for (const [i, rate] of rates.entries()) {
      const before = rates[i - 1];
      console.log(
        `| ${WORKERS[i]} | ${rate.toFixed(0)} | ${before === undefined ? '' : `${(rate / before).toFixed(2)} x`} |`,
      );
    }
  } finally {
    await Promise.all(registries.map((registry) => registry.close()));
    await rm(directory, { recursive: true, force: true });
  }
}

async function pullsPerMinute(data: string, count: number, references: readonly string[]): Promise<number> {
  await mkdir(data);
  const redis = await startRedis();
  const connection = connectRedis(redis.url, { use: 'worker' });
  const queue = createTaskQueue(connection);
  const env = { BHATTI_DATA_DIR: data, REDIS_URL: redis.url, BHATTI_LISTEN: 'none', BHATTI_LOG_LEVEL: 'warn' };
  const workers = Array.from({ length: count }, (_, i) => new Program('worker', env, `${data}-${i}.log`));
  try {
    for (const worker of workers) worker.start();
    while ((await queue.getWorkers()).length < count) await sleep(50);
    const started = performance.now();
    const ids: string[] = [];
    for (const [i, reference] of references.entries()) {
      ids.push((await enqueuePull(queue, { reference, requested: reference, name: `image-${i}`, owner: 'local' })).id);
    }
    for (const id of ids) {
      for (;;) {
        const view = (await findTask(queue, id))?.view;
        if (view?.status === 'completed') break;
        if (view === undefined || isEnded(view.status)) throw new Error(`a pull failed: ${view?.error?.message}`);
        await sleep(20);
      }
    }
    return (ids.length / (performance.now() - started)) * 60_000;
  } finally {
    await Promise.all(workers.map((worker) => worker.end('SIGTERM')));
    await queue.close();
    connection.disconnect();
    await redis.stop();
    await rm(data, { recursive: true, force: true });
  }
}
