import type { ApiClient } from './server/api-client.ts';
import type { Readiness, Task } from './server/api-schema.ts';
import type { Console } from './terminal/console.ts';
import { printableLine } from './terminal/printable.ts';

/** Longer than the server takes for its checks, ms. */
const READINESS_TIMEOUT = 10_000;

/** How long a task may show nothing new before the server is asked why, and how long until it is asked again, ms. */
export interface WaitingPatience {
  readonly queued: number;
  /** Building a large image may take as long. */
  readonly running: number;
  readonly later: number;
}

const usualPatience: WaitingPatience = { queued: 5_000, running: 15_000, later: 30_000 };

/**
 * Tells a user whose task stays in the queue, or does not get on, why that is, if the server knows: each reason once, on stderr.
 * Says nothing while the workers are merely busy, nor if the server has no `/ready` (an older one) or cannot be reached, which the
 * follower tells.
 */
export class WaitingNotice {
  readonly #client: Pick<ApiClient, 'readiness'>;
  readonly #console: Pick<Console, 'err'>;
  readonly #patience: WaitingPatience;
  readonly #told = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #seen: string | undefined;

  constructor(client: Pick<ApiClient, 'readiness'>, console: Pick<Console, 'err'>, patience = usualPatience) {
    this.#client = client;
    this.#console = console;
    this.#patience = patience;
  }

  /** To be called with each state of the task, also with the same one again. */
  see({ status, progress, detail }: Pick<Task, 'status' | 'progress' | 'detail'>): void {
    const state = JSON.stringify([status, progress, detail]);
    if (state === this.#seen) return;
    this.#seen = state;
    this.close();
    if (status === 'queued' || status === 'running') this.#askAfter(this.#patience[status]);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #askAfter(milliseconds: number): void {
    const timer = setTimeout(async () => {
      const reasons = await this.#client.readiness(READINESS_TIMEOUT).then(refusals, () => []);
      // There is news of the task meanwhile.
      if (this.#timer !== timer) return;
      for (const reason of reasons) this.#tell(reason);
      this.#askAfter(this.#patience.later);
    }, milliseconds);
    this.#timer = timer;
  }

  #tell(reason: string): void {
    if (this.#told.has(reason)) return;
    this.#told.add(reason);
    this.#console.err(`warning: still waiting: ${printableLine(reason)}\n`);
  }
}

/** Without Redis nothing is known of the workers, which is no news beside it. */
function refusals({ checks: { worker, ...others } }: Readiness): string[] {
  const known = others.redis?.ok === false ? others : { worker, ...others };
  return Object.values(known).flatMap((check) => (check?.ok === false && check.reason ? [check.reason] : []));
}
