/** Runs every command of docs/redis-recipes.md unchanged, against a Redis with a queue and a worker. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { RedisClient } from '@bhatti/tasks';
import {
  connectRedis,
  createTaskQueue,
  enqueuePull,
  jobError,
  type PullJobData,
  QUEUE_NAME,
  type TaskQueue,
  WorkerMetrics,
  workerOptions,
} from '@bhatti/tasks';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Worker } from 'bullmq';
import { startRedis, type TestRedis } from './support/redis.ts';

const execute = promisify(execFile);

let redis: TestRedis;
let connection: RedisClient;
let queue: TaskQueue;
let recipes: ReadonlyMap<string, readonly string[]>;
beforeAll(async () => {
  redis = await startRedis();
  connection = connectRedis(redis.url, { use: 'worker' });
  queue = createTaskQueue(connection);
  recipes = await readRecipes();
});
afterAll(async () => {
  await queue.close();
  connection.disconnect();
  await redis.stop();
});

/** The command lines of each heading. */
async function readRecipes(): Promise<ReadonlyMap<string, readonly string[]>> {
  const text = await readFile(new URL('../docs/redis-recipes.md', import.meta.url), 'utf8');
  return new Map(
    text.split(/^## /m).map((part) => {
      const blocks = [...part.matchAll(/^```\n([\s\S]*?)^```/gm)].map(([, block = '']) => block);
      return [part.split('\n', 1)[0] ?? '', blocks.flatMap((block) => block.trim().split('\n'))];
    }),
  );
}

/** Runs the commands of the page under a heading. Resolves with their answers in order. */
async function run(heading: string, task = ''): Promise<string[]> {
  const commands = recipes.get(heading) ?? [];
  expect(commands.length).toBeGreaterThan(0);
  const answers: string[] = [];
  for (const command of commands) answers.push(await shell(command, task));
  return answers;
}

async function shell(command: string, task = ''): Promise<string> {
  const here = command.replaceAll('TASK', task).replaceAll('redis-cli', `redis-cli -s ${redis.socketPath}`);
  return (await execute('/bin/sh', ['-c', here])).stdout.trim();
}

function pull(tag: string): Promise<string> {
  const data: PullJobData = {
    reference: `docker.io/library/alpine:${tag}`,
    requested: `alpine:${tag}`,
    name: `alpine-${tag}`,
    owner: 'local',
  };
  return enqueuePull(queue, data).then(({ id }) => id);
}

test('the recipes tell and do what they say', async () => {
  const [first, second] = [await pull('1'), await pull('2')];
  expect((await run('What waits')).slice(0, 2)).toEqual(['2', `${second}\n${first}`]);
  expect((await run('What a task is about', first))[0]).toContain('"requested":"alpine:1"');

  const [pause = '', dropMarker = '', resume = '', setMarker = ''] = recipes.get('Pause the queue') ?? [];
  await shell(pause);
  await shell(dropMarker);
  expect(await queue.isPaused()).toBe(true);

  let fails = true;
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const worker = new Worker(
    QUEUE_NAME,
    async (job, _token, _signal) => {
      await job.log('attempt 1 of 3');
      if (fails && job.id === first) throw jobError({ code: 'no_space', message: 'full', retryable: false });
      if (job.id === second) await released;
      return { image: 'x', digest: 'x', sizeBytes: 1, steps: [], warnings: [] };
    },
    { ...workerOptions({ connection, concurrency: 2, name: 'host-a:42' }), drainDelay: 1 },
  );
  const untilState = async (id: string, state: string) => {
    while ((await queue.getJobState(id)) !== state) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  try {
    await worker.waitUntilReady();
    expect(await queue.getWaitingCount()).toBe(2);
    await shell(resume);
    await shell(setMarker);
    expect(await queue.isPaused()).toBe(false);
    await untilState(first, 'failed');
    await untilState(second, 'active');

    const [active, holder, workers] = await run('What runs, and where', second);
    expect([active, holder]).toEqual([second, 'host-a:42']);
    expect(workers).toMatch(/:w:host-a:42$/);
    expect(await run('Drain a worker')).toEqual(['1']);
    expect(await run('Why it failed', first)).toEqual([first, 'no_space: full', 'attempt 1 of 3']);

    fails = false;
    await run('Try it again', first);
    await untilState(first, 'completed');
    expect(await queue.getFailedCount()).toBe(0);

    release();
    await untilState(second, 'completed');
    const metrics = new WorkerMetrics(connection);
    metrics.count('tasks', { result: 'completed' });
    await metrics.idle();
    expect(await run('What has been counted')).toEqual(['bhatti_tasks_total{result="completed"}\n1']);
  } finally {
    release();
    await worker.close();
  }
});

test('no heading of the page is left out', () => {
  const tested = [
    'What waits',
    'What a task is about',
    'What runs, and where',
    'Why it failed',
    'Try it again',
    'Pause the queue',
    'Drain a worker',
    'What has been counted',
  ];
  const withCommands = [...recipes].filter(([, commands]) => commands.length > 0).map(([heading]) => heading);
  expect(withCommands).toEqual(tested);
});
