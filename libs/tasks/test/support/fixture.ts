import { type Processor, Worker } from 'bullmq';
import { startRedis, type TestRedis } from '../../../../test/support/redis.ts';
import type { RedisClient } from '../../index.ts';
import {
  connectRedis,
  createTaskQueue,
  createTaskRelay,
  type PullJobData,
  type PullResult,
  QUEUE_NAME,
  type TaskJobData,
  type TaskJobName,
  type TaskQueue,
  type TaskWorker,
  workerOptions,
} from '../../index.ts';

export type PullProcessor = Processor<TaskJobData, PullResult, TaskJobName>;

export const data: PullJobData = {
  reference: 'docker.io/library/python:3.12',
  requested: 'python:3.12',
  name: 'python-3.12',
  owner: 'local',
};

export const result: PullResult = {
  image: 'python-3.12',
  digest: `sha256:${'a'.repeat(64)}`,
  sizeBytes: 2 ** 30,
  steps: [
    { phase: 'resolving', line: 'resolving manifest...' },
    { phase: 'flattening', line: 'flattening to ext4...' },
  ],
  warnings: [],
};

/** A real Redis, and everything that was made on it, ended together. */
export class QueueFixture {
  readonly server: TestRedis;
  readonly #closers: (() => Promise<unknown> | unknown)[] = [];

  private constructor(server: TestRedis) {
    this.server = server;
  }

  static async start(): Promise<QueueFixture> {
    return new QueueFixture(await startRedis());
  }

  connect(use: 'worker' | 'request'): RedisClient {
    const redis = connectRedis(this.server.url, { use });
    this.#closers.push(() => redis.disconnect());
    return redis;
  }

  queue(use: 'worker' | 'request' = 'request'): TaskQueue {
    const queue = createTaskQueue(this.connect(use));
    this.#closers.push(() => queue.close());
    return queue;
  }

  relay(use: 'worker' | 'request' = 'request') {
    const relay = createTaskRelay(this.connect(use));
    this.#closers.push(() => relay.close());
    return relay;
  }

  worker(
    processor: PullProcessor,
    options: { lockDuration?: number; stalledInterval?: number; concurrency?: number } = {},
  ): TaskWorker {
    const worker: TaskWorker = new Worker(QUEUE_NAME, processor, {
      ...workerOptions({ connection: this.connect('worker') }),
      ...options,
    });
    worker.on('error', () => {});
    this.#closers.push(() => worker.close(true));
    return worker;
  }

  onEnd(close: () => Promise<unknown> | unknown): void {
    this.#closers.push(close);
  }

  /** Ends what was made since the last call, last first. */
  async reset(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close();
    const redis = connectRedis(this.server.url, { use: 'request' });
    await redis.flushall();
    redis.disconnect();
  }

  async stop(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close();
    await this.server.stop();
  }
}
