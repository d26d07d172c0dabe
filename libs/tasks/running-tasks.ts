/**
 * The tasks that this process works on, and the signals that stop them. BullMQ's worker has its own list, by job id: if it lost a job and
 * picked it up again itself (after the machine slept), it forgets the new run when the old one ends, and can no longer stop it.
 */
export class RunningTasks {
  readonly #runs = new Set<{ readonly id: string; readonly stop: AbortController }>();
  readonly #watchers = new Set<(id: string) => void>();

  /** The ids of the tasks that are running now. */
  get ids(): ReadonlySet<string> {
    return new Set([...this.#runs].map(({ id }) => id));
  }

  /** Runs a task. Its signal aborts, with the given reason, when `stop` or `stopAll` is called. */
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

  /** Stops every run of the task. */
  stop(id: string, reason: string): void {
    for (const run of this.#runs) if (run.id === id) run.stop.abort(reason);
  }

  stopAll(reason: string): void {
    for (const { stop } of this.#runs) stop.abort(reason);
  }

  /** Calls `begun` with the id of each task that begins from now on. Returns a function that ends this. */
  watch(begun: (id: string) => void): () => void {
    this.#watchers.add(begun);
    return () => this.#watchers.delete(begun);
  }
}
