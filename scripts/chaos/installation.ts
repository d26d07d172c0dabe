import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectRedis, createTaskQueue, type RedisClient, type TaskQueue } from '@bhatti/tasks';
import { startRedis, type TestRedis } from '../../test/support/redis.ts';
import { startRegistry, type TestRegistry } from '../../test/support/registry.ts';
import { Client } from './client.ts';
import { FetchedBytes } from './fetched-bytes.ts';
import { Program } from './program.ts';
import { SmallDisk } from './small-disk.ts';

/** An API, workers and Redis on a small disk, and a registry; with a client, and what watches the disk. */
export class Installation {
  /** Holds the logs, one for each program. */
  readonly directory: string;
  readonly disk: SmallDisk;
  readonly redis: TestRedis;
  readonly registry: TestRegistry;
  readonly api: Program;
  readonly workers: readonly Program[];
  readonly client: Client;
  readonly connection: RedisClient;
  readonly queue: TaskQueue;
  readonly fetched: FetchedBytes;

  private constructor(directory: string, disk: SmallDisk, workers: number, redis: TestRedis, registry: TestRegistry) {
    this.directory = directory;
    this.disk = disk;
    this.redis = redis;
    this.registry = registry;
    this.fetched = new FetchedBytes(disk.path);
    this.api = this.#program('api', 'api');
    this.workers = Array.from({ length: workers }, (_, i) => this.worker(`worker${i}`));
    this.client = new Client(join(disk.path, 'run', 'api.sock'));
    this.connection = connectRedis(redis.url, { use: 'worker' });
    this.queue = createTaskQueue(this.connection);
  }

  /** Opens one whose programs are not started yet. */
  static async open(diskBytes: number, workers: number): Promise<Installation> {
    const directory = await mkdtemp(join(tmpdir(), 'bhatti-chaos-'));
    const disk = new SmallDisk(join(directory, 'data'), diskBytes);
    await disk.mount();
    return new Installation(directory, disk, workers, await startRedis(), await startRegistry());
  }

  get programs(): readonly Program[] {
    return [this.api, ...this.workers];
  }

  /** A worker that is not started yet. */
  worker(log: string): Program {
    return this.#program('worker', log);
  }

  /** Starts the programs that do not run. */
  start(): void {
    for (const program of this.programs) if (!program.isRunning) program.start();
  }

  async close({ keepLogs }: { keepLogs: boolean }): Promise<void> {
    this.fetched.stop();
    await Promise.all(this.programs.map((program) => program.end('SIGKILL')));
    await this.client.close();
    await this.queue.close();
    this.connection.disconnect();
    await this.registry.close();
    await this.redis.stop();
    this.disk.unmount();
    if (!keepLogs) await rm(this.directory, { recursive: true, force: true });
  }

  #program(name: 'api' | 'worker', log: string): Program {
    const env = {
      BHATTI_DATA_DIR: this.disk.path,
      REDIS_URL: this.redis.url,
      BHATTI_LISTEN: 'none',
      BHATTI_LOG_LEVEL: 'info',
    };
    return new Program(name, env, join(this.directory, `${log}.log`), () => this.fetched.woke());
  }
}
