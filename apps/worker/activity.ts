/** Milliseconds without work after which a process counts as idle: within a series, the next pull comes sooner. */
const LULL = 1000;

/** Tracks whether this process is busy, for work that can wait for a lull. */
export class Activity {
  readonly #listeners = new Set<() => void>();
  #running = 0;
  #idleSince = 0;

  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#running++;
    try {
      return await work();
    } finally {
      this.#running--;
      this.#idleSince = performance.now();
      for (const listener of this.#listeners) listener();
    }
  }

  /**
   * Resolves when nothing has run for a second, but after `patience` milliseconds at the latest, or when the signal aborts.
   * Does not keep the process alive.
   */
  async lull(patience: number, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + patience;
    while (!signal.aborted) {
      const now = performance.now();
      const idleFor = this.#running === 0 ? now - this.#idleSince : 0;
      if (idleFor >= LULL || now >= deadline) return;
      await this.#change(this.#running === 0 ? LULL - idleFor : deadline - now, signal);
    }
  }

  /** Resolves when work ends, after so many milliseconds, or when the signal aborts. */
  async #change(milliseconds: number, signal: AbortSignal): Promise<void> {
    let wake = () => {};
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      wake = resolve;
      timer = setTimeout(resolve, milliseconds).unref();
      this.#listeners.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
    clearTimeout(timer);
    this.#listeners.delete(wake);
    signal.removeEventListener('abort', wake);
  }
}
