/**
 * What restarts, stops and cancellations cost, on real processes: `npx tsx scripts/measure-durability.ts`, after `npm run build`. The
 * figures in docs/operating.md come from it.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  cancelTask,
  connectRedis,
  createTaskQueue,
  createTaskRelay,
  enqueuePull,
  findTask,
  isEnded,
  type TaskView,
} from '@bhatti/tasks';
import { Redis } from 'ioredis';
import { createBhatti } from '../test/support/bhatti.ts';
import { fileLayer } from '../test/support/layer.ts';
import { startRedis } from '../test/support/redis.ts';
import { type PushedImage, startRegistry } from '../test/support/registry.ts';
import { Program } from './chaos/program.ts';

const WORKERS = 3;
const LAYER_BYTES = 3_000_000;
const BYTES_PER_SECOND = 1_000_000;

const directory = await mkdtemp(join(tmpdir(), 'bhatti-measure-'));
const redis = await startRedis();
const registry = await startRegistry();
registry.plan({ path: '/blobs/', bytesPerSecond: BYTES_PER_SECOND });
const env = { BHATTI_DATA_DIR: join(directory, 'data'), REDIS_URL: redis.url, BHATTI_LISTEN: 'none' };
const workers = Array.from(
  { length: WORKERS },
  (_, i) => new Program('worker', env, join(directory, `worker${i}.log`)),
);
const connection = connectRedis(redis.url, { use: 'worker' });
const queue = createTaskQueue(connection);
const relay = createTaskRelay(connection);

async function push(name: string, bytes = LAYER_BYTES): Promise<PushedImage> {
  return registry.pushImage({ repository: `m/${name}`, layers: [await fileLayer({ f: randomBytes(bytes) })] });
}

async function enqueue({ reference }: PushedImage, name: string): Promise<string> {
  return (await enqueuePull(queue, { reference, requested: reference, name, owner: 'local' })).id;
}

async function until(question: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await question())) await sleep(5);
}

async function viewOf(id: string): Promise<TaskView> {
  const task = await findTask(queue, id);
  if (task === null) throw new Error(`no task ${id}`);
  return task.view;
}

async function ended(id: string): Promise<TaskView> {
  await until(async () => isEnded((await viewOf(id)).status));
  return viewOf(id);
}

const ms = (from: number) => `${Math.round(performance.now() - from)} ms`;
const quantile = (sorted: readonly number[], part: number) => sorted[Math.floor((sorted.length - 1) * part)] ?? 0;

/** Seconds that each of `count` pulls takes, sorted, as many at once as there are workers; `meanwhile` runs beside them. */
async function pulls(label: string, count: number, meanwhile: () => Promise<void>): Promise<number[]> {
  const running = new Set<Promise<void>>();
  const seconds: number[] = [];
  const disturbing = meanwhile();
  for (let i = 0; i < count; i += 1) {
    while (running.size >= WORKERS) await Promise.race(running);
    const image = await push(`${label}${i}`);
    const began = performance.now();
    const one = enqueue(image, `${label}${i}`)
      .then(ended)
      .then((view) => {
        if (view.status !== 'completed') throw new Error(JSON.stringify(view.error));
        seconds.push((performance.now() - began) / 1000);
      })
      .finally(() => running.delete(one));
    running.add(one);
  }
  await Promise.all(running);
  await disturbing;
  return seconds.sort((a, b) => a - b);
}

/** Restarts the workers one after the other, each once the one before is back. */
async function rollingRestart(): Promise<void> {
  for (const worker of workers) {
    await worker.end('SIGTERM');
    worker.start();
    await allWork();
    await sleep(1000);
  }
}

const allWork = () => until(async () => (await queue.getWorkersCount()) === WORKERS);

try {
  for (const worker of workers) worker.start();
  await allWork();

  const calm = await pulls('calm', 9, async () => {});
  const rolling = await pulls('rolling', 18, async () => {
    for (let round = 0; round < 2; round += 1) await rollingRestart();
  });
  const median = quantile(calm, 0.5);
  console.log(
    `rolling restart, twice all ${WORKERS} workers: 18 of 18 pulls of ${median.toFixed(1)} s; added: median ${(quantile(rolling, 0.5) - median).toFixed(2)} s, most ${(quantile(rolling, 1) - median).toFixed(2)} s`,
  );

  const held = await push('held');
  const id = await enqueue(held, 'held');
  const partial = join(directory, 'data', 'partial', 'sha256');
  await until(async () => (await readdir(partial)).length > 0);
  const open = registry.connections().open;
  let began = performance.now();
  await cancelTask(queue, relay, id);
  const [sockets, disk, end] = await Promise.all([
    until(() => registry.connections().open < open).then(() => ms(began)),
    until(async () => (await readdir(partial)).length === 0).then(() => ms(began)),
    until(async () => (await viewOf(id)).completed_at !== null).then(() => ms(began)),
  ]);
  console.log(`cancel of a running download: socket closed ${sockets}, disk freed ${disk}, ended ${end}`);

  const busy = await push('busy');
  registry.clearFaults();
  registry.plan({ path: '/m/busy/manifests', status: 429, headers: { 'retry-after': '3600' } });
  const delayed = await enqueue(busy, 'busy');
  await until(async () => (await queue.getJobState(delayed)) === 'delayed');
  began = performance.now();
  await cancelTask(queue, relay, delayed);
  await until(async () => (await viewOf(delayed)).completed_at !== null);
  console.log(`cancel of a task that waits to be tried again: ended ${ms(began)}`);
  registry.clearFaults();

  const client = new Redis(redis.socketPath, { retryStrategy: () => 50 });
  client.on('error', () => {});
  let acknowledged = 0;
  const stop = performance.now() + 3000;
  while (performance.now() < stop) acknowledged = await client.incr('measure');
  const killed = redis.kill();
  await killed;
  await redis.start();
  const kept = Number(await client.get('measure'));
  client.disconnect();
  console.log(
    `Redis killed (SIGKILL) under ${acknowledged} writes in 3 s: ${acknowledged - kept} acknowledged writes lost`,
  );

  registry.plan({ path: '/blobs/', bytesPerSecond: 100_000 });
  const bhatti = await createBhatti();
  await bhatti.run(['serve', '--detach', '--workers', '2']);
  for (let i = 0; i < 4; i += 1) await bhatti.run(['image', 'pull', (await push(`stop${i}`)).reference, '--detach']);
  await sleep(1000);
  began = performance.now();
  const stopped = await bhatti.run(['serve', 'stop']);
  console.log(`serve stop with 4 pulls under way: ${ms(began)} (${stopped.stdout.trim()})`);
  await bhatti.remove();
} finally {
  await Promise.all(workers.map((worker) => worker.end('SIGKILL')));
  await relay.close();
  await queue.close();
  connection.disconnect();
  await registry.close();
  await redis.stop();
  await rm(directory, { recursive: true, force: true });
}
