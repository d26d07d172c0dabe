import type { Store } from '@bhatti/store';
import { type MetricFamily, readWorkerMetrics } from '@bhatti/tasks';
import type { Logger } from 'pino';
import { AggregatorRegistry, Registry } from 'prom-client';
import { readQueueState } from '../tasks/queue-state.ts';
import { refusalOfWrites } from '../tasks/redis-writes.ts';
import type { TaskService } from '../tasks/task-service.ts';
import { HttpMetrics } from './http-metrics.ts';
import { OperatingMetrics } from './operating-metrics.ts';

/** Everything that `/metrics` tells: this process, the queue, the disk, and the sums of all workers. */
export class Metrics {
  readonly http: HttpMetrics;
  readonly #registry = new Registry();
  readonly #operating: OperatingMetrics;
  readonly #tasks: TaskService;

  constructor({ tasks, store }: { tasks: TaskService; store: Pick<Store, 'directory'> }) {
    this.#tasks = tasks;
    this.http = new HttpMetrics(this.#registry);
    this.#operating = new OperatingMetrics(this.#registry, store);
  }

  /** Media type of `text()`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** In the text format of Prometheus. Without Redis: what is known without it. */
  async text(log: Logger): Promise<string> {
    const seen = await this.#lookAtRedis(log);
    await this.#operating.update(seen, log);
    return Registry.merge([this.#registry, workerRegistry(seen?.workers ?? [])]).metrics();
  }

  async #lookAtRedis(log: Logger) {
    try {
      return await this.#tasks.withQueue(async ({ queue, redis }) => ({
        refusal: await refusalOfWrites(redis),
        queue: await readQueueState(queue),
        workers: await readWorkerMetrics(redis),
      }));
    } catch (error) {
      log.debug({ err: error }, 'metrics without Redis');
      return null;
    }
  }
}

/** prom-client's form of metrics that come from another process. */
function workerRegistry(families: readonly MetricFamily[]): Registry {
  const metrics = families.map(({ name, help, type, samples }) => ({
    name,
    help,
    type,
    aggregator: 'sum',
    values: samples.map((sample) => ({ labels: sample.labels, value: sample.value, metricName: sample.name })),
  }));
  return AggregatorRegistry.aggregate([metrics]);
}
