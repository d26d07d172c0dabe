/**
 * The tasks that this process works on, and how each run of one is told to stop. BullMQ's worker has a list of its own, by the job's id:
 * of a job that it lost and took up again itself (the machine had slept), it drops the new run when the old one ends, and reaches it no more.
 */
export class RunningTasks {
  readonly #runs = new Set<{ readonly id: string; readonly stop: AbortController }>();
  readonly #watchers = new Set<(id: string) => void>();

  /** The tasks that are worked on now. */
  get ids(): ReadonlySet<string> {
    return new Set([...this.#runs].map(({ id }) => id));
  }

  /** Works on a task. The signal aborts, with the reason that is given then, when the task is to stop. */
  async run<Result>(id: string, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const run = { id, stop: new AbortController() };
    this.#runs.add(run);
    for (const begun of this.#watchers) begun(id);
    try {
      return await work(run.stop.signal);
    } finally {
      this.#runs.delete(run);
    }
  }

  /** Tells every run of the task to stop. */
  stop(id: string, reason: string): void {
    for (const run of this.#runs) if (run.id === id) run.stop.abort(reason);
  }

  stopAll(reason: string): void {
    for (const { stop } of this.#runs) stop.abort(reason);
  }

  /** Calls `begun` with each task from now on that is begun. Returns the function that ends it. */
  watch(begun: (id: string) => void): () => void {
    this.#watchers.add(begun);
    return () => this.#watchers.delete(begun);
  }
}
