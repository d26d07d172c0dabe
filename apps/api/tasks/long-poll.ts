/** A watched task is read this often even without an event: events can be lost while Redis reconnects. */
const recheckMilliseconds = 5_000;

/** One request that waits. */
class Waiter<State> {
  readonly answer: Promise<State>;
  readonly #decide: (state: State) => boolean;
  #resolve: (state: State) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #over = false;
  #last: { readonly state: State } | undefined;

  constructor(decide: (state: State) => boolean) {
    this.#decide = decide;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  offer(state: State): void {
    this.#last = { state };
    if (this.#decide(state) || this.#over) this.#resolve(state);
  }

  /** Time is up: answers with the last state, or with the first once it has been read. */
  readonly expire = (): void => {
    this.#over = true;
    if (this.#last !== undefined) this.#resolve(this.#last.state);
  };

  fail(error: unknown): void {
    this.#reject(error);
  }
}

interface Watched<State> {
  readonly waiters: Set<Waiter<State>>;
  readonly recheck: NodeJS.Timeout;
  reading: boolean;
  /** Something happened since the current read began: its result may be out of date. */
  stale: boolean;
}

export interface WaitOptions {
  readonly milliseconds: number;
  /** Ends the wait with the last state, as if the time were over. */
  readonly signal: AbortSignal;
}

/**
 * Lets any number of requests wait for news of tasks. One event subscription feeds it (`changed`); however many wait for
 * a task, an event costs one read of it, and reads of one task never overlap.
 */
export class LongPoll<State> {
  readonly #read: (id: string) => Promise<State>;
  readonly #watched = new Map<string, Watched<State>>();

  constructor(read: (id: string) => Promise<State>) {
    this.#read = read;
  }

  /** Something happened to the task. */
  changed(id: string): void {
    const watched = this.#watched.get(id);
    if (watched !== undefined) void this.#refresh(id, watched);
  }

  /** Events may have been missed: every watched task is read again. */
  changedAll(): void {
    for (const [id, watched] of this.#watched) void this.#refresh(id, watched);
  }

  /**
   * Reads the task now and after each change, until `decide` says that this is the state to answer with, or the time is
   * over (then: the last state). Rejects with the error of a read.
   */
  async wait(id: string, decide: (state: State) => boolean, options: WaitOptions): Promise<State> {
    const waiter = new Waiter(decide);
    const watched = this.#watched.get(id) ?? this.#watch(id);
    watched.waiters.add(waiter);
    const timer = setTimeout(waiter.expire, options.milliseconds);
    options.signal.addEventListener('abort', waiter.expire, { once: true });
    if (options.signal.aborted) waiter.expire();
    try {
      void this.#refresh(id, watched);
      return await waiter.answer;
    } finally {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', waiter.expire);
      watched.waiters.delete(waiter);
      if (watched.waiters.size === 0) this.#forget(id, watched);
    }
  }

  #watch(id: string): Watched<State> {
    const recheck = setInterval(() => this.changed(id), recheckMilliseconds);
    const watched: Watched<State> = { waiters: new Set(), recheck, reading: false, stale: false };
    this.#watched.set(id, watched);
    return watched;
  }

  #forget(id: string, watched: Watched<State>): void {
    clearInterval(watched.recheck);
    this.#watched.delete(id);
  }

  async #refresh(id: string, watched: Watched<State>): Promise<void> {
    watched.stale = true;
    if (watched.reading) return;
    watched.reading = true;
    try {
      while (watched.stale) {
        watched.stale = false;
        const state = await this.#read(id);
        for (const waiter of watched.waiters) waiter.offer(state);
      }
    } catch (error) {
      for (const waiter of watched.waiters) waiter.fail(error);
    } finally {
      watched.reading = false;
    }
  }
}
