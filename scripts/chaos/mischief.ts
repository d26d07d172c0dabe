import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../random.ts';
import type { Demand } from './demand.ts';
import type { Installation } from './installation.ts';
import type { AcceptedTask } from './invariants.ts';
import type { Program } from './program.ts';

/** Ms for which a worker is stopped: longer than its locks last, so that its jobs are another's when it wakes. */
const STOPPED = 14_000;

export interface MischiefOptions {
  /** Ms between two pieces of mischief, at most. */
  readonly pause: number;
  /** Pieces of mischief that are done even when all tasks have been asked for. */
  readonly minimumMischief: number;
  /** Pieces after which the rest is asked for in peace. */
  readonly maximumMischief: number | undefined;
  readonly onEvent: (line: string) => void;
}

interface Piece {
  readonly name: string;
  /** How often it is done relative to the others; 0 if it cannot be done. */
  readonly weight: number;
  readonly harm: () => Promise<void>;
}

/** Harms an installation at random while tasks are asked for. */
export class Mischief {
  readonly #installation: Installation;
  readonly #demand: Demand;
  readonly #random: Random;
  readonly #options: MischiefOptions;
  readonly #pieces: readonly Piece[];
  readonly #weighted: readonly Piece[];
  readonly #counts: Record<string, number> = {};
  readonly #later = new Set<Promise<void>>();

  constructor(installation: Installation, demand: Demand, random: Random, options: MischiefOptions) {
    this.#installation = installation;
    this.#demand = demand;
    this.#random = random;
    this.#options = options;
    const { api, workers, registry, disk } = installation;
    this.#pieces = [
      { name: 'worker killed', weight: 5, harm: () => this.#restart([this.#oneWorker()], 'SIGKILL') },
      { name: 'worker told to end', weight: 3, harm: () => this.#restart([this.#oneWorker()], 'SIGTERM') },
      { name: 'all workers restarted', weight: 1, harm: () => this.#restart(workers, 'SIGTERM') },
      { name: 'api killed', weight: 2, harm: () => this.#restart([api], 'SIGKILL') },
      { name: 'redis killed', weight: 2, harm: () => this.#killRedis() },
      { name: 'everything killed', weight: 1, harm: () => this.#killAll() },
      // After what kills it: one that is to wake with jobs that are another's has to live until then.
      { name: 'worker stopped', weight: 2, harm: async () => this.#freeze(this.#oneWorker()) },
      { name: 'disk filled', weight: disk.isMounted ? 1 : 0, harm: () => this.#fillDisk() },
      { name: 'connections dropped', weight: 2, harm: async () => registry.dropConnections() },
      { name: 'task cancelled', weight: 3, harm: () => this.#cancelOne() },
      { name: 'image deleted, and all pruned', weight: 2, harm: () => this.#deleteAndPrune() },
    ];
    this.#weighted = this.#pieces.flatMap((piece) => Array.from({ length: piece.weight }, () => piece));
  }

  /** How often each piece was done. */
  get counts(): Readonly<Record<string, number>> {
    return this.#counts;
  }

  /** Does piece after piece until everything has been asked for, or the most that may be done is done. */
  async run(): Promise<void> {
    const { pause, minimumMischief, maximumMischief = Number.POSITIVE_INFINITY } = this.#options;
    const mayGoOn = (round: number) => !this.#demand.isOver && round < maximumMischief;
    for (let round = 0; mayGoOn(round) || round < minimumMischief; round += 1) {
      await sleep(this.#random.between(pause / 4, pause));
      await this.#untilUnderWay();
      await this.#doOne(round);
    }
  }

  /** Resolves when all stopped workers have been continued. */
  async idle(): Promise<void> {
    await Promise.all(this.#later);
  }

  /** Resolves when there is a task to disturb, or none will come. */
  async #untilUnderWay(): Promise<void> {
    while (!this.#demand.isOver && (await this.#installation.queue.getActiveCount()) === 0) await sleep(50);
  }

  async #doOne(round: number): Promise<void> {
    // The first rounds do each piece once, so that a short run leaves nothing out.
    const piece = this.#pieces[round] ?? this.#weighted[this.#random.between(0, this.#weighted.length - 1)];
    if (piece === undefined || piece.weight === 0) return;
    this.#options.onEvent(piece.name);
    this.#counts[piece.name] = (this.#counts[piece.name] ?? 0) + 1;
    await piece.harm();
  }

  #oneWorker(): Program | undefined {
    const { workers } = this.#installation;
    return workers[this.#random.between(0, workers.length - 1)];
  }

  #oneTask(): readonly [id: string, AcceptedTask] | undefined {
    const { latest } = this.#demand;
    return latest[this.#random.between(0, Math.max(0, latest.length - 1))];
  }

  async #restart(programs: readonly (Program | undefined)[], signal: NodeJS.Signals): Promise<void> {
    for (const program of programs) {
      await program?.end(signal);
      await sleep(this.#random.between(0, 500));
      program?.start();
    }
  }

  #freeze(worker: Program | undefined): void {
    worker?.signal('SIGSTOP');
    const done = sleep(STOPPED).then(() => {
      worker?.signal('SIGCONT');
      this.#later.delete(done);
    });
    this.#later.add(done);
  }

  async #killRedis(): Promise<void> {
    const { redis } = this.#installation;
    await redis.kill();
    await sleep(this.#random.between(0, 2000));
    await redis.start();
  }

  async #killAll(): Promise<void> {
    const { redis, programs } = this.#installation;
    await Promise.all([redis.kill(), ...programs.map((program) => program.end('SIGKILL'))]);
    await redis.start();
    for (const program of programs) program.start();
  }

  async #fillDisk(): Promise<void> {
    const { disk, fetched } = this.#installation;
    const began = Date.now();
    await disk.fill(() => sleep(this.#random.between(300, 2000)));
    // Cached layers may have been evicted.
    fetched.freed('full disk', 'any', began, Date.now());
  }

  async #cancelOne(): Promise<void> {
    const picked = this.#oneTask();
    if (picked === undefined) return;
    const [id, task] = picked;
    // Before the request, as its answer may get lost.
    task.cancelled = true;
    await this.#installation.client.cancel(id);
  }

  async #deleteAndPrune(): Promise<void> {
    const { client, fetched } = this.#installation;
    const picked = this.#oneTask();
    await client.deleteImage(picked?.[1].name ?? 'none');
    const began = Date.now();
    await client.prune();
    fetched.freed('pruned', 'any', began, Date.now());
  }
}
