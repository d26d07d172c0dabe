import { KEY_PREFIX } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';

/** A metric that is summed over all workers. Names and units follow Prometheus: seconds, bytes, `_total`. */
export interface MetricDefinition {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'histogram';
  /** Upper bounds of a histogram's buckets, ascending, without infinity. */
  readonly buckets?: readonly number[];
}

export type MetricLabels = Readonly<Record<string, string>>;

const seconds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];

/** The metrics of workers. The sums are in Redis, since any number of workers may come and go, on any host. */
export const workerMetrics = {
  tasks: {
    name: 'bhatti_tasks_total',
    help: 'Tasks that have ended, by result (completed, failed, cancelled) and the code of the failure.',
    type: 'counter',
  },
  retries: {
    name: 'bhatti_task_retries_total',
    help: 'Attempts that failed and are made again, by the code of the failure.',
    type: 'counter',
  },
  takeovers: {
    name: 'bhatti_task_takeovers_total',
    help: 'Tasks taken over from a worker that died or hung.',
    type: 'counter',
  },
  waiting: {
    name: 'bhatti_task_wait_seconds',
    help: 'Time from the request to the start of the attempt that ended the task.',
    type: 'histogram',
    buckets: seconds,
  },
  duration: {
    name: 'bhatti_task_duration_seconds',
    help: 'Time from the request to the end of the task, by result.',
    type: 'histogram',
    buckets: seconds,
  },
  phase: {
    name: 'bhatti_phase_duration_seconds',
    help: 'Time in each phase of a task that got through it.',
    type: 'histogram',
    buckets: seconds,
  },
  build: {
    name: 'bhatti_rootfs_build_seconds',
    help: 'Time to build and check a root filesystem of layers that are there.',
    type: 'histogram',
    buckets: seconds,
  },
  downloaded: {
    name: 'bhatti_downloaded_bytes_total',
    help: 'Compressed bytes of layers that registries have sent.',
    type: 'counter',
  },
  layers: {
    name: 'bhatti_layers_total',
    help: 'Layers that tasks needed, by source: registry, archive or cache.',
    type: 'counter',
  },
  rootfs: {
    name: 'bhatti_rootfs_total',
    help: 'Root filesystems that tasks needed, by source: built or cache.',
    type: 'counter',
  },
} as const satisfies Record<string, MetricDefinition>;

type Definitions = typeof workerMetrics;
type NamesOf<Type> = {
  [Key in keyof Definitions]: Definitions[Key]['type'] extends Type ? Key : never;
}[keyof Definitions];
export type WorkerCounter = NamesOf<'counter'>;
export type WorkerHistogram = NamesOf<'histogram'>;

const KEY = `${KEY_PREFIX}:metrics`;

/** Adds to the sums in Redis. Never delays the work: calls return at once, and what cannot be sent is lost. */
export class WorkerMetrics {
  readonly #redis: RedisClient;
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  count(counter: WorkerCounter, labels: MetricLabels = {}, by = 1): void {
    if (by > 0) this.#send(this.#redis.hincrby(KEY, fieldOf(workerMetrics[counter].name, labels), by));
  }

  observe(histogram: WorkerHistogram, labels: MetricLabels, value: number): void {
    const { name, buckets } = workerMetrics[histogram];
    // Negative when a clock was set back, or differs between two hosts.
    const observed = Math.max(0, value);
    const le = buckets.find((bound) => observed <= bound);
    const bucket = fieldOf(`${name}_bucket`, { ...labels, le: le === undefined ? '+Inf' : String(le) });
    const sum = fieldOf(`${name}_sum`, labels);
    this.#send(this.#redis.multi().hincrby(KEY, bucket, 1).hincrbyfloat(KEY, sum, observed.toFixed(6)).exec());
  }

  /** Runs the work, and observes its duration in seconds if it succeeds. */
  async time<Result>(histogram: WorkerHistogram, labels: MetricLabels, work: () => Promise<Result>): Promise<Result> {
    const started = performance.now();
    const result = await work();
    this.observe(histogram, labels, (performance.now() - started) / 1000);
    return result;
  }

  /** Resolves when everything has been sent or lost. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  #send(command: Promise<unknown>): void {
    const sent = command
      .then(
        () => {},
        () => {},
      )
      .finally(() => this.#underWay.delete(sent));
    this.#underWay.add(sent);
  }
}

/** One line of the exposition: `name{labels} value`. */
export interface MetricSample {
  /** The metric's name, or that with `_bucket`, `_sum` or `_count`. */
  readonly name: string;
  readonly labels: MetricLabels;
  readonly value: number;
}

export interface MetricFamily extends MetricDefinition {
  /** Buckets of a histogram are cumulative, as in Prometheus. */
  readonly samples: readonly MetricSample[];
}

/** The sums of all workers, with each metric once; one that has not been counted yet has no samples. */
export async function readWorkerMetrics(redis: Pick<RedisClient, 'hgetall'>): Promise<MetricFamily[]> {
  const samples = Object.entries(await redis.hgetall(KEY)).flatMap(([field, value]) => parseField(field, value) ?? []);
  return Object.values(workerMetrics).map((definition: MetricDefinition) => ({
    ...definition,
    samples:
      definition.type === 'counter'
        ? samples.filter((sample) => sample.name === definition.name)
        : histogramSamples(definition, samples),
  }));
}

function histogramSamples({ name, buckets = [] }: MetricDefinition, samples: readonly MetricSample[]): MetricSample[] {
  return samples
    .filter((sample) => sample.name === `${name}_sum`)
    .flatMap((sum) => {
      const counts = new Map<string, number>();
      for (const sample of samples) {
        const { le, ...labels } = sample.labels;
        if (sample.name === `${name}_bucket` && le !== undefined && sameLabels(labels, sum.labels))
          counts.set(le, sample.value);
      }
      let total = 0;
      const cumulative = [...buckets.map(String), '+Inf'].map((le) => {
        total += counts.get(le) ?? 0;
        return { name: `${name}_bucket`, labels: { ...sum.labels, le }, value: total };
      });
      return [...cumulative, sum, { name: `${name}_count`, labels: sum.labels, value: total }];
    });
}

/** The field of a sample in Redis, written as in Prometheus: `bhatti_tasks_total{result="failed",reason="no_space"}`. */
function fieldOf(name: string, labels: MetricLabels): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value.replace(/[^\w.+-]/g, '_')}"`);
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`;
}

function parseField(field: string, value: string): MetricSample | undefined {
  const match = /^(\w+)(?:\{(.*)\})?$/.exec(field);
  const number = Number(value);
  if (match?.[1] === undefined || !Number.isFinite(number)) return undefined;
  const labels = Object.fromEntries(
    [...(match[2] ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', text = '']) => [label, text]),
  );
  return { name: match[1], labels, value: number };
}

function sameLabels(one: MetricLabels, other: MetricLabels): boolean {
  const entries = Object.entries(one);
  return entries.length === Object.keys(other).length && entries.every(([label, value]) => other[label] === value);
}
