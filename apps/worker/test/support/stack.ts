import type { KeyObject } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createLogger } from '@bhatti/logging';
import { formatReference, parseAuthFlag, parseReference, type RegistryClientOptions } from '@bhatti/oci';
import { openStore, type Store } from '@bhatti/store';
import type { RedisClient } from '@bhatti/tasks';
import {
  connectRedis,
  createTaskId,
  createTaskQueue,
  createTaskRelay,
  enqueueImport,
  enqueuePull,
  findTask,
  isEnded,
  loadSecretKey,
  queueKey,
  sealCredentials,
  type TaskJob,
  type TaskQueue,
  type TaskView,
} from '@bhatti/tasks';
import type { Relay } from 'bullmq';
import { eventually } from '../../../../test/support/eventually.ts';
import { startRedis, type TestRedis } from '../../../../test/support/redis.ts';
import { startRegistry, type TestRegistry } from '../../../../test/support/registry.ts';
import { type Overlay, openOverlay } from '../../image/overlay.ts';
import { type RunningWorker, startWorker } from '../../worker.ts';
import { startWorkerProcess, type WorkerProcess } from './worker-process.ts';

export interface PullRequest {
  readonly reference: string;
  readonly name: string;
  readonly platform?: string;
  /** Left out, `SIZE`. */
  readonly sizeBytes?: number;
  readonly force?: boolean;
  /** `user:token` */
  readonly auth?: string;
  readonly requestId?: string;
}

export interface WorkerChoices {
  readonly concurrency?: number;
  readonly cacheBytes?: number;
  readonly registry?: RegistryClientOptions;
  /** Ms. */
  readonly housekeepingInterval?: number;
  /** Path of a tar, or an opened overlay. */
  readonly overlay?: string | Overlay;
}

export interface ImportRequest {
  readonly archive: Buffer;
  readonly name: string;
  /** Which image of the archive. */
  readonly reference?: string;
  readonly requested?: string;
  readonly platform?: string;
  /** Left out, `SIZE`. */
  readonly sizeBytes?: number;
}

/**
 * Bytes of an image unless a test asks for another size: the least that is possible. By default a worker makes one of 512 MiB, and
 * taking its SHA-256 costs 0.4 s of CPU time.
 */
const SIZE = 2 ** 24;

interface StackParts {
  readonly redis: TestRedis;
  readonly registry: TestRegistry;
  readonly directory: string;
  readonly store: Store;
  readonly secretKey: KeyObject;
  /** Whether closing the stack removes the directory. */
  readonly removesDirectory: boolean;
}

/** Everything a worker needs, for one test file: Redis, a registry, a data directory, and a client of the queue. */
export class TestStack {
  readonly redis: TestRedis;
  readonly registry: TestRegistry;
  readonly directory: string;
  readonly store: Store;
  readonly connection: RedisClient;
  readonly queue: TaskQueue;
  readonly relay: Relay;
  readonly #secretKey: KeyObject;
  readonly #removesDirectory: boolean;
  readonly #workers: RunningWorker[] = [];
  readonly #processes: WorkerProcess[] = [];
  #log = '';
  #requestsSeen = 0;

  constructor({ redis, registry, directory, store, secretKey, removesDirectory }: StackParts) {
    this.redis = redis;
    this.registry = registry;
    this.directory = directory;
    this.store = store;
    this.connection = connectRedis(redis.url, { use: 'worker' });
    this.queue = createTaskQueue(this.connection);
    this.relay = createTaskRelay(this.connection);
    this.#secretKey = secretKey;
    this.#removesDirectory = removesDirectory;
  }

  /** A worker in this process. */
  async startWorker({ concurrency = 2, overlay: given, ...choices }: WorkerChoices = {}): Promise<RunningWorker> {
    const write = (line: string) => {
      this.#log += line;
    };
    const worker = await startWorker({
      store: this.store,
      redisUrl: this.redis.url,
      concurrency,
      ...choices,
      secretKey: this.#secretKey,
      overlay: typeof given === 'string' ? await openOverlay(given, this.store) : given,
      logger: createLogger({ name: 'worker', level: 'trace', destination: { write } }),
    });
    this.#workers.push(worker);
    return worker;
  }

  /** The built worker in a process of its own. */
  async startWorkerProcess(env: NodeJS.ProcessEnv = {}, log?: 'pipe' | number): Promise<WorkerProcess> {
    // As `bhatti serve` starts it: the registry is on loopback.
    const local = { BHATTI_DATA_DIR: this.directory, REDIS_URL: this.redis.url, BHATTI_LISTEN: 'none' };
    const started = await startWorkerProcess({ ...local, ...env }, log);
    this.#processes.push(started);
    return started;
  }

  /** Everything that workers in this process logged. */
  log(): string {
    return this.#log;
  }

  async enqueue({ reference, auth, sizeBytes = SIZE, ...asked }: PullRequest): Promise<string> {
    const parsed = parseReference(reference);
    const sealedAuth =
      auth === undefined ? undefined : sealCredentials(parseAuthFlag(auth), this.#secretKey, parsed.domain);
    const data = {
      reference: formatReference(parsed),
      requested: reference,
      owner: 'local',
      sealedAuth,
      sizeBytes,
      ...asked,
    };
    return (await enqueuePull(this.queue, data)).id;
  }

  async enqueueImport({
    archive,
    name,
    reference,
    requested,
    platform,
    sizeBytes = SIZE,
  }: ImportRequest): Promise<string> {
    const id = createTaskId();
    const archiveBytes = await this.store.uploads.receive(id, Readable.from([archive]));
    const asked = { reference, platform, sizeBytes, requested: requested ?? reference ?? name, name, owner: 'local' };
    await enqueueImport(this.queue, { type: 'import', ...asked, archiveBytes }, { id });
    return id;
  }

  async view(id: string): Promise<TaskView> {
    const task = await findTask(this.queue, id);
    if (task === null) throw new Error(`no task ${id}`);
    return task.view;
  }

  async job(id: string): Promise<TaskJob> {
    const found = await this.queue.getJob(id);
    if (found === undefined) throw new Error(`no job ${id}`);
    return found;
  }

  /** The job once it has failed: read anew, as one read before may say less. */
  async failedJob(id: string): Promise<TaskJob> {
    return eventually(async () => (await this.queue.getJobState(id)) === 'failed' && this.job(id));
  }

  /** The task's view once it has ended, and the worker is done with the job. */
  async ended(id: string): Promise<TaskView> {
    // One field is asked for again and again: all of a task costs ten times as much.
    await eventually(async () => (await this.connection.hget(queueKey(id), 'finishedOn')) !== null);
    const view = await this.view(id);
    if (!isEnded(view.status)) throw new Error(`${id} has ended, and is shown as ${view.status}`);
    return view;
  }

  /** Lets the lock of the task run out, and has that noticed, which otherwise takes up to 13 s. */
  async giveUpOn(id: string): Promise<void> {
    if ((await this.connection.del(queueKey(`${id}:lock`))) !== 1) throw new Error(`nobody works on ${id}`);
    await this.connection.del(queueKey('stalled-check'));
    await this.connection.sadd(queueKey('stalled'), id);
  }

  async pull(request: PullRequest): Promise<TaskView> {
    return this.ended(await this.enqueue(request));
  }

  /** Digests of the blobs asked for since the last call. */
  blobsFetched(): string[] {
    const fresh = this.registry.requests.slice(this.#requestsSeen);
    this.#requestsSeen = this.registry.requests.length;
    return fresh.flatMap(({ path }) => /\/blobs\/(.+)$/.exec(path)?.[1] ?? []);
  }

  /** Names below the data directory that are not published: temporary folders, partial downloads, uploads. */
  async leftovers(): Promise<string[]> {
    const names: string[] = [];
    for (const folder of ['layers/sha256', 'rootfs/sha256', 'partial/sha256', 'images/local', 'uploads']) {
      for (const name of await readdir(join(this.directory, folder)).catch(() => [])) {
        const published = /^(partial|uploads)/.test(folder) ? false : /^([0-9a-f]{64}|.+\.json)$/.test(name);
        if (!published) names.push(`${folder}/${name}`);
      }
    }
    return names;
  }

  async close(): Promise<void> {
    for (const worker of this.#workers) await worker.close();
    for (const worker of this.#processes) await worker.end('SIGKILL');
    await this.relay.close();
    await this.queue.close();
    this.connection.disconnect();
    await this.registry.close();
    await this.redis.stop();
    if (this.#removesDirectory) await rm(this.directory, { recursive: true, force: true });
  }
}

/** @param dataDirectory left out, one is made */
export async function startStack(
  options: Parameters<typeof startRegistry>[0] = {},
  dataDirectory?: string,
): Promise<TestStack> {
  const redis = await startRedis();
  const registry = await startRegistry(options);
  const directory = dataDirectory ?? (await mkdtemp(join(tmpdir(), 'bhatti-worker-')));
  const store = await openStore(directory);
  const secretKey = await loadSecretKey({ path: store.paths.secretKeyFile, env: {} });
  const removesDirectory = dataDirectory === undefined;
  return new TestStack({ redis, registry, directory, store, secretKey, removesDirectory });
}
