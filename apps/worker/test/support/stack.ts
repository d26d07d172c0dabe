import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createLogger } from '@bhatti/logging';
import { formatReference, parseAuthFlag, parseReference } from '@bhatti/oci';
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
  sealCredentials,
  type TaskJob,
  type TaskQueue,
  type TaskView,
} from '@bhatti/tasks';
import type { Relay } from 'bullmq';
import { eventually } from '../../../../test/support/eventually.ts';
import { startRedis, type TestRedis } from '../../../../test/support/redis.ts';
import { startRegistry, type TestRegistry } from '../../../../test/support/registry.ts';
import { type Overlay, openOverlay } from '../../overlay.ts';
import { type RunningWorker, startWorker } from '../../worker.ts';
import { startWorkerProcess, type WorkerProcess } from './worker-process.ts';

export interface PullRequest {
  readonly reference: string;
  readonly name: string;
  readonly platform?: string;
  readonly sizeBytes?: number;
  readonly force?: boolean;
  /** `user:token` */
  readonly auth?: string;
  readonly requestId?: string;
}

export interface WorkerChoices {
  readonly concurrency?: number;
  readonly cacheBytes?: number;
  /** Path of a tar, or what has been made of one. */
  readonly overlay?: string | Overlay;
}

export interface ImportRequest {
  readonly archive: Buffer;
  readonly name: string;
  /** Which image of the archive. */
  readonly reference?: string;
  readonly platform?: string;
}

/** Everything a worker needs, for one test file: Redis, a registry and a data directory, and the queue's other end. */
export interface TestStack {
  readonly redis: TestRedis;
  readonly connection: RedisClient;
  readonly registry: TestRegistry;
  readonly directory: string;
  readonly store: Store;
  readonly queue: TaskQueue;
  readonly relay: Relay;
  /** A worker in this process. */
  startWorker(options?: WorkerChoices): Promise<RunningWorker>;
  /** The built worker in a process of its own. */
  startWorkerProcess(env?: NodeJS.ProcessEnv, log?: 'pipe' | number): Promise<WorkerProcess>;
  /** Everything that workers in this process logged. */
  log(): string;
  enqueue(request: PullRequest): Promise<string>;
  enqueueImport(request: ImportRequest): Promise<string>;
  view(id: string): Promise<TaskView>;
  job(id: string): Promise<TaskJob>;
  /** The task's view once it has ended. */
  ended(id: string): Promise<TaskView>;
  pull(request: PullRequest): Promise<TaskView>;
  /** Digests of the blobs asked for since the last call. */
  blobsFetched(): string[];
  /** Names below the data directory that are not published: temporary folders, partial downloads, uploads. */
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
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
  const connection = connectRedis(redis.url, { use: 'worker' });
  const queue = createTaskQueue(connection);
  const relay = createTaskRelay(connection);
  const secretKey = await loadSecretKey({ path: store.paths.secretKeyFile, env: {} });
  const workers: RunningWorker[] = [];
  const processes: WorkerProcess[] = [];
  let log = '';
  let requestsSeen = 0;

  const view = async (id: string) => {
    const task = await findTask(queue, id);
    if (task === null) throw new Error(`no task ${id}`);
    return task.view;
  };
  const job = async (id: string) => {
    const found = await queue.getJob(id);
    if (found === undefined) throw new Error(`no job ${id}`);
    return found;
  };
  const enqueue = async ({ reference, name, platform, sizeBytes, force, auth, requestId }: PullRequest) => {
    const parsed = parseReference(reference);
    const sealedAuth = auth === undefined ? undefined : sealCredentials(parseAuthFlag(auth), secretKey, parsed.domain);
    const data = {
      reference: formatReference(parsed),
      requested: reference,
      name,
      owner: 'local',
      platform,
      sizeBytes,
      force,
      sealedAuth,
      requestId,
    };
    return (await enqueuePull(queue, data)).id;
  };
  const enqueueArchive = async ({ archive, name, reference, platform }: ImportRequest) => {
    const id = createTaskId();
    const archiveBytes = await store.uploads.receive(id, Readable.from([archive]));
    const asked = { reference, platform, requested: reference ?? name, name, owner: 'local' };
    await enqueueImport(queue, { type: 'import', ...asked, archiveBytes }, { id });
    return id;
  };
  const ended = (id: string) =>
    eventually(async () => {
      // What comes after the end belongs to it: the job is out of the hands of its worker.
      const seen = await view(id);
      return isEnded(seen.status) && (await job(id)).finishedOn !== undefined && seen;
    });
  return {
    redis,
    connection,
    registry,
    directory,
    store,
    queue,
    relay,
    startWorker: async ({ concurrency = 2, cacheBytes, overlay: given } = {}) => {
      const write = (line: string) => {
        log += line;
      };
      const logger = createLogger({ name: 'worker', level: 'trace', destination: { write } });
      const overlay = typeof given === 'string' ? await openOverlay(given, store) : given;
      const worker = await startWorker({
        store,
        redisUrl: redis.url,
        concurrency,
        cacheBytes,
        secretKey,
        overlay,
        logger,
      });
      workers.push(worker);
      return worker;
    },
    startWorkerProcess: async (env = {}, log) => {
      // As `bhatti serve` starts it: the registry is on loopback.
      const local = { BHATTI_DATA_DIR: directory, REDIS_URL: redis.url, BHATTI_LISTEN: 'none' };
      const started = await startWorkerProcess({ ...local, ...env }, log);
      processes.push(started);
      return started;
    },
    log: () => log,
    enqueue,
    enqueueImport: enqueueArchive,
    view,
    job,
    ended,
    pull: async (request) => ended(await enqueue(request)),
    blobsFetched: () => {
      const fresh = registry.requests.slice(requestsSeen);
      requestsSeen = registry.requests.length;
      return fresh.flatMap(({ path }) => /\/blobs\/(.+)$/.exec(path)?.[1] ?? []);
    },
    leftovers: async () => {
      const names: string[] = [];
      for (const folder of ['layers/sha256', 'rootfs/sha256', 'partial/sha256', 'images/local', 'uploads']) {
        for (const name of await readdir(join(directory, folder)).catch(() => [])) {
          const published = /^(partial|uploads)/.test(folder) ? false : /^([0-9a-f]{64}|.+\.json)$/.test(name);
          if (!published) names.push(`${folder}/${name}`);
        }
      }
      return names;
    },
    close: async () => {
      for (const worker of workers) await worker.close();
      for (const worker of processes) await worker.end('SIGKILL');
      await relay.close();
      await queue.close();
      connection.disconnect();
      await registry.close();
      await redis.stop();
      if (dataDirectory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}
