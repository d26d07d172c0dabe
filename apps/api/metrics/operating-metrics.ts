import { statfs } from 'node:fs/promises';
import type { Store } from '@bhatti/store';
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import type { QueueState } from '../tasks/queue-state.ts';
import { version } from '../version.ts';

/** What Redis has told just now. */
export interface RedisState {
  /** See `refusalOfWrites`. */
  readonly refusal: string | null;
  readonly queue: QueueState;
}

/** Gauges that are looked up when they are asked for: the queue and the disk. */
export class OperatingMetrics {
  readonly #store: Pick<Store, 'directory'>;
  readonly #redisUp: Gauge;
  readonly #tasks: Gauge<'state'>;
  readonly #oldest: Gauge;
  readonly #paused: Gauge;
  readonly #workers: Gauge;
  readonly #free: Gauge;
  readonly #size: Gauge;

  constructor(registry: Registry, store: Pick<Store, 'directory'>) {
    this.#store = store;
    const gauge = (name: string, help: string) => new Gauge({ name, help, registers: [registry] });
    new Gauge({
      name: 'bhatti_build_info',
      help: 'Always 1; the version of the API is the label.',
      labelNames: ['version'],
      registers: [registry],
    }).set({ version }, 1);
    this.#redisUp = gauge(
      'bhatti_redis_up',
      'Whether Redis answers the API and takes tasks; where it does not answer, nothing is told of queue and workers.',
    );
    this.#tasks = new Gauge({
      name: 'bhatti_queue_tasks',
      help: 'Tasks by state: waiting, delayed (to be tried again), active, completed and failed (kept a week).',
      labelNames: ['state'],
      registers: [registry],
    });
    this.#oldest = gauge(
      'bhatti_queue_oldest_waiting_seconds',
      'How long the oldest waiting task has waited; 0 when none does.',
    );
    this.#paused = gauge('bhatti_queue_paused', 'Whether an operator has paused the queue.');
    this.#workers = gauge('bhatti_workers', 'Worker processes that are connected to the queue.');
    this.#free = gauge(
      'bhatti_disk_free_bytes',
      'Bytes that the service can still write to the disk of the data directory.',
    );
    this.#size = gauge('bhatti_disk_size_bytes', 'Bytes of the disk of the data directory.');
  }

  /** @param redis null while Redis is away: the gauges of the queue have no value then, rather than an old one */
  async update(redis: RedisState | null, log: Logger): Promise<void> {
    this.#redisUp.set(redis?.refusal === null ? 1 : 0);
    for (const gauge of [this.#oldest, this.#paused, this.#workers]) gauge.remove();
    this.#tasks.reset();
    if (redis !== null) {
      const { queue } = redis;
      for (const [state, count] of Object.entries(queue.tasks)) this.#tasks.set({ state }, count);
      this.#oldest.set(queue.oldestWaitingSeconds);
      this.#paused.set(queue.isPaused ? 1 : 0);
      this.#workers.set(queue.workers.length);
    }
    try {
      const { bavail, blocks, bsize } = await statfs(this.#store.directory);
      this.#free.set(bavail * bsize);
      this.#size.set(blocks * bsize);
    } catch (error) {
      for (const gauge of [this.#free, this.#size]) gauge.remove();
      log.warn({ err: error }, 'the disk of the data directory cannot be looked at');
    }
  }
}
