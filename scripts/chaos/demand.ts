import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../random.ts';
import type { Client } from './client.ts';
import type { ChaosImage } from './image-set.ts';
import type { AcceptedTask } from './invariants.ts';

/** The number of latest tasks, which are likely to be under way. */
const LATEST = 5;

export interface DemandOptions {
  readonly seed: number;
  /** Pulls and imports in all. */
  readonly tasks: number;
  /** Ms between two of them, at most. */
  readonly pause: number;
}

/** Asks for pulls and imports of random images, one after the other. */
export class Demand {
  readonly #client: Client;
  readonly #images: readonly ChaosImage[];
  readonly #options: DemandOptions;
  readonly #random: Random;
  readonly #accepted = new Map<string, AcceptedTask>();
  readonly #expected = new Map<string, ChaosImage>();
  #isOver = false;

  constructor(client: Client, images: readonly ChaosImage[], options: DemandOptions) {
    this.#client = client;
    this.#images = images;
    this.#options = options;
    // Separate, as the timing of the mischief would otherwise decide what is asked for.
    this.#random = new Random(options.seed + 1);
  }

  /** Whether everything has been asked for, or asking has failed. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** The tasks that the API has accepted, by id. */
  get accepted(): ReadonlyMap<string, AcceptedTask> {
    return this.#accepted;
  }

  /** The images that were to be pulled, by name. */
  get expected(): ReadonlyMap<string, ChaosImage> {
    return this.#expected;
  }

  /** The tasks accepted last: older ones have ended. */
  get latest(): readonly (readonly [id: string, AcceptedTask])[] {
    return [...this.#accepted].slice(-LATEST);
  }

  /** Rejects when the API gives no proper answer for too long. */
  async run(): Promise<void> {
    try {
      for (let left = this.#options.tasks - 1; left >= 0; left -= 1) {
        await this.#ask(left);
        await sleep(this.#random.between(0, this.#options.pause));
      }
    } finally {
      this.#isOver = true;
    }
  }

  async #ask(left: number): Promise<void> {
    const { seed, tasks } = this.#options;
    const image = this.#images[this.#random.between(0, this.#images.length - 1)];
    if (image === undefined) return;
    const type = left % 4 === 0 ? 'import' : 'pull';
    const name = `${type}-${this.#random.between(0, tasks)}-${image.digest.slice(7, 15)}`;
    if (type === 'pull') this.#expected.set(name, image);
    const id =
      type === 'pull'
        ? await this.#client.pull(image.reference, name)
        : await this.#client.import(await image.archive(), name, `${seed}-${left}`);
    if (id !== undefined && !this.#accepted.has(id)) this.#accepted.set(id, { type, image, name, cancelled: false });
  }
}
