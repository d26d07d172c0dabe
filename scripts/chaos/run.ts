import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openStore } from '@bhatti/store';
import { connectRedis, createTaskQueue, findTask, isEnded, type TaskQueue, type TaskView } from '@bhatti/tasks';
import { startRedis } from '../../test/support/redis.ts';
import { startRegistry } from '../../test/support/registry.ts';
import { Random } from '../random.ts';
import { Client } from './client.ts';
import { type BytesTwice, FetchedBytes } from './fetched-bytes.ts';
import { type ChaosImage, pushImages } from './image-set.ts';
import { type AcceptedTask, checkFiles, checkImages, checkKeys, checkTasks } from './invariants.ts';
import { Program } from './program.ts';

export interface ChaosOptions {
  readonly seed: number;
  /** Pulls and imports in all. */
  readonly tasks: number;
  /** Ms between two pieces of mischief, at most. */
  readonly pause: number;
  /** Pieces of mischief that are done even when all tasks have been asked for. */
  readonly minimumMischief: number;
  readonly onEvent?: (line: string) => void;
}

export interface ChaosReport {
  /** How often each piece of mischief was done. */
  readonly mischief: Readonly<Record<string, number>>;
  readonly accepted: Readonly<Record<string, number>>;
  readonly ends: Readonly<Record<string, number>>;
  readonly takeovers: number;
  readonly bytesSent: number;
  readonly bytesTwice: BytesTwice;
  readonly imagesChecked: number;
  /** What is not as it must be. */
  readonly violations: readonly string[];
}

const WORKERS = 3;
/** Ms that a worker is stopped: longer than its locks live, so that its jobs are another's when it wakes. */
const STOPPED = 14_000;
/** Ms in which every accepted task must end once the mischief is over. */
const SETTLE = 120_000;
/** Ms around the end of a task in which what it took is removed. */
const CLEARING = 2000;
/** Tasks that are likely to be under way. */
const LATEST = 5;
/** Size of the tmpfs that is filled. */
const DISK_BYTES = 1_500_000_000;

/** Three workers, an API, Redis and a registry, all of them harmed at random; then looks at what is left from outside. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const random = new Random(options.seed);
  // Of its own: else how long a piece of mischief takes would decide what is asked for.
  const asked = new Random(options.seed + 1);
  const say = options.onEvent ?? (() => {});
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-chaos-'));
  const disk = new SmallDisk(join(directory, 'data'));
  await disk.mount();
  const redis = await startRedis();
  const registry = await startRegistry();
  const env = { BHATTI_DATA_DIR: disk.path, REDIS_URL: redis.url, BHATTI_LISTEN: 'none', BHATTI_LOG_LEVEL: 'info' };
  const api = new Program('api', env, join(directory, 'api.log'));
  const workers = Array.from(
    { length: WORKERS },
    (_, i) => new Program('worker', env, join(directory, `worker${i}.log`), () => fetched?.woke()),
  );
  const client = new Client(join(disk.path, 'run', 'api.sock'));
  const connection = connectRedis(redis.url, { use: 'worker' });
  const queue = createTaskQueue(connection);
  const accepted = new Map<string, AcceptedTask>();
  const expected = new Map<string, ChaosImage>();
  const mischief: Record<string, number> = {};
  const pending = new Set<Promise<void>>();
  let fetched: FetchedBytes | undefined;
  let keep = false;

  const later = (milliseconds: number, work: () => void) => {
    const done = sleep(milliseconds).then(() => {
      work();
      pending.delete(done);
    });
    pending.add(done);
  };
  const oneWorker = () => workers[random.between(0, WORKERS - 1)];
  const pieces: readonly [string, number, () => Promise<void>][] = [
    ['worker killed', 5, () => restart([oneWorker()], 'SIGKILL')],
    ['worker told to end', 3, () => restart([oneWorker()], 'SIGTERM')],
    ['all workers restarted', 1, () => restart(workers, 'SIGTERM')],
    ['worker stopped', 2, async () => freeze(oneWorker())],
    ['api killed', 2, () => restart([api], 'SIGKILL')],
    ['redis killed', 2, killRedis],
    ['everything killed', 1, killAll],
    ['disk filled', disk.isMounted ? 1 : 0, fillDisk],
    ['connections dropped', 2, async () => registry.dropConnections()],
    ['task cancelled', 3, cancelOne],
    ['image deleted, and all pruned', 2, deleteAndPrune],
  ];

  async function restart(programs: readonly (Program | undefined)[], signal: NodeJS.Signals): Promise<void> {
    for (const program of programs) {
      await program?.end(signal);
      await sleep(random.between(0, 500));
      program?.start();
    }
  }
  function freeze(worker: Program | undefined): void {
    worker?.signal('SIGSTOP');
    later(STOPPED, () => worker?.signal('SIGCONT'));
  }
  async function killRedis(): Promise<void> {
    await redis.kill();
    await sleep(random.between(0, 2000));
    await redis.start();
  }
  async function killAll(): Promise<void> {
    await Promise.all([redis.kill(), api.end('SIGKILL'), ...workers.map((worker) => worker.end('SIGKILL'))]);
    await redis.start();
    for (const program of [api, ...workers]) program.start();
  }
  async function fillDisk(): Promise<void> {
    const began = Date.now();
    await disk.fill(() => sleep(random.between(300, 2000)));
    // What was only cached may have given way.
    fetched?.freed('full disk', 'any', began, Date.now());
  }
  async function deleteAndPrune(): Promise<void> {
    const names = [...accepted.values()].slice(-LATEST).map(({ name }) => name);
    await client.deleteImage(names[random.between(0, Math.max(0, names.length - 1))] ?? 'none');
    const began = Date.now();
    await client.prune();
    fetched?.freed('pruned', 'any', began, Date.now());
  }
  async function cancelOne(): Promise<void> {
    // Those of long ago have ended.
    const ids = [...accepted.keys()].slice(-LATEST);
    const id = ids[random.between(0, ids.length - 1)];
    const task = id === undefined ? undefined : accepted.get(id);
    if (id === undefined || task === undefined) return;
    // Before it is known to have been heard: the answer may get lost.
    task.cancelled = true;
    await client.cancel(id);
  }

  try {
    const images = await pushImages(registry, random, Math.max(4, Math.ceil(options.tasks / 3)));
    fetched = new FetchedBytes(disk.path, images);
    registry.plan({ path: '/blobs/', bytesPerSecond: 1_000_000 });
    for (const program of [api, ...workers]) program.start();
    let left = options.tasks;
    let isAsking = true;
    const asking = (async () => {
      while (left > 0) {
        left -= 1;
        const image = images[asked.between(0, images.length - 1)];
        if (image === undefined) continue;
        const type = left % 4 === 0 ? 'import' : 'pull';
        const name = `${type}-${asked.between(0, options.tasks)}-${image.digest.slice(7, 15)}`;
        if (type === 'pull') expected.set(name, image);
        const id =
          type === 'pull'
            ? await client.pull(image.reference, name)
            : await client.import(await image.archive(), name, `${options.seed}-${left}`);
        if (id !== undefined && !accepted.has(id)) accepted.set(id, { type, image, name, cancelled: false });
        await sleep(asked.between(0, options.pause / 4));
      }
    })().finally(() => {
      isAsking = false;
    });
    // Awaited below, when the mischief is done; until then a failure must not end the process, which has to clear up.
    asking.catch(() => {});
    const weights = pieces.flatMap(([name, weight]) => Array.from({ length: weight }, () => name));
    for (let done = 0; isAsking || done < options.minimumMischief; done += 1) {
      await sleep(random.between(options.pause / 4, options.pause));
      // The first rounds do each piece once, so that a short run leaves nothing out.
      const name = pieces[done]?.[0] ?? weights[random.between(0, weights.length - 1)];
      const piece = pieces.find(([other, weight]) => other === name && weight > 0);
      if (piece === undefined) continue;
      say(piece[0]);
      mischief[piece[0]] = (mischief[piece[0]] ?? 0) + 1;
      await piece[2]();
    }
    await asking;
    await Promise.all(pending);
    say('the mischief is over');
    for (const program of [api, ...workers]) if (!program.isRunning) program.start();
    const views = await settled(queue, accepted);
    fetched.stop();
    for (const [id, { image }] of accepted) {
      const view = views.get(id);
      const by = view?.status === 'cancelled' ? 'cancelled' : view?.status === 'failed' ? 'full disk' : undefined;
      const end = Date.parse(view?.completed_at ?? '');
      // It removes what it took just before its end is recorded.
      if (by !== undefined) fetched.freed(by, image, end - CLEARING, end + CLEARING);
    }
    const deaths = new Map<string, number>();
    for (const id of accepted.keys()) deaths.set(id, (await queue.getJob(id))?.stalledCounter ?? 0);
    for (const worker of workers) await worker.end('SIGTERM');
    const store = await openStore(disk.path);
    // One that an API was killed over, before it put the task on the queue, is nobody's after a minute.
    for (const deadline = Date.now() + 61_000; Date.now() < deadline; await sleep(500)) {
      if ((await store.uploads.list()).length === 0) break;
    }
    // The next start collects what dead processes left.
    const last = new Program('worker', env, join(directory, 'last.log'));
    last.start();
    let files: string[] = [];
    for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(200)) {
      files = await checkFiles(store);
      if (files.length === 0) break;
    }
    await last.end('SIGTERM');
    const checked = await checkImages(store, expected);
    const bytesTwice = fetched.count(registry.requests);
    const violations = [
      ...(bytesTwice.withoutReason > 0 ? [`${bytesTwice.withoutReason} bytes fetched again without reason`] : []),
      ...checkTasks(accepted, views, deaths),
      ...checked.wrong,
      ...files,
      ...(await checkKeys(connection)),
    ];
    keep = violations.length > 0;
    if (keep) say(`logs are in ${directory}`);
    return {
      mischief,
      accepted: countBy([...accepted.values()].map(({ type }) => type)),
      ends: countBy([...views.values()].map((view) => view?.error?.code ?? view?.status ?? 'lost')),
      takeovers: [...deaths.values()].reduce((sum, count) => sum + count, 0),
      bytesSent: registry.requests.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
      bytesTwice,
      imagesChecked: checked.checked,
      violations,
    };
  } finally {
    fetched?.stop();
    await Promise.all([api, ...workers].map((program) => program.end('SIGKILL')));
    await client.close();
    await queue.close();
    connection.disconnect();
    await registry.close();
    await redis.stop();
    disk.unmount();
    if (!keep) await rm(directory, { recursive: true, force: true });
  }
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** The tasks once all have ended, or as they are when the time is over. */
async function settled(
  queue: TaskQueue,
  accepted: ReadonlyMap<string, AcceptedTask>,
): Promise<Map<string, TaskView | undefined>> {
  const views = new Map<string, TaskView | undefined>();
  const deadline = Date.now() + SETTLE;
  for (const id of accepted.keys()) {
    for (;;) {
      const view = (await findTask(queue, id))?.view;
      views.set(id, view);
      // One that waited when it was cancelled shows so at once; the next free worker ends it.
      const isOver = view === undefined || (isEnded(view.status) && view.completed_at !== null);
      if (isOver || Date.now() > deadline) break;
      await sleep(100);
    }
  }
  return views;
}

/** A tmpfs that can be filled, where this user may mount one (root); else an ordinary folder that is not. */
class SmallDisk {
  readonly path: string;
  isMounted = false;

  constructor(path: string) {
    this.path = path;
  }

  async mount(): Promise<void> {
    if (process.getuid?.() !== 0) return;
    execFileSync('mkdir', ['-p', this.path]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', this.path]);
    this.isMounted = true;
  }

  /** Leaves no room until `meanwhile` is over. */
  async fill(meanwhile: () => Promise<unknown>): Promise<void> {
    const ballast = join(this.path, 'ballast');
    try {
      await writeFile(ballast, '');
      while (!this.#take(ballast));
      await meanwhile();
    } finally {
      await rm(ballast, { force: true });
    }
  }

  /** False when others were faster to what was free. */
  #take(ballast: string): boolean {
    const free = execFileSync('df', ['--output=avail', '-B1', this.path], { encoding: 'utf8' }).split('\n')[1];
    const length = String(Math.max(4096, Number(free) - 65_536));
    return spawnSync('fallocate', ['-l', length, ballast]).status === 0;
  }

  unmount(): void {
    if (this.isMounted) execFileSync('umount', ['-l', this.path]);
  }
}
