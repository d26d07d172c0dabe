import type { LayerProgress, PullPhase, TaskProgress, TaskStep } from './pull-task.ts';

/** Ms between updates: at most five a second. */
const shortestInterval = 200;

/** Most ms that `flush` waits for the last update when Redis is slow. */
const flushTimeout = 1_000;

/** The latest line of a phase, with the bytes where they are known. */
export interface ProgressUpdate {
  readonly phase: PullPhase;
  readonly line: string;
  readonly downloadedBytes?: number | undefined;
  readonly totalBytes?: number | undefined;
  readonly layers?: LayerProgress[] | undefined;
}

/** Where progress goes: a BullMQ job. */
export interface ProgressTarget {
  updateProgress(progress: TaskProgress): Promise<void>;
}

export interface ProgressReporter {
  /** Records the update and returns at once. Updates that come faster than they can be sent are skipped, but never the last one. */
  report(update: ProgressUpdate): void;
  /** Every phase so far in order, each with its latest line. */
  readonly steps: readonly TaskStep[];
  /** Sends the last update. Resolves when it has been sent, when sending has failed, or after a second. */
  flush(): Promise<void>;
}

export interface ProgressReporterOptions {
  /** Called when an update could not be sent; the next one replaces it. */
  readonly onError?: (error: unknown) => void;
}

/** Reports the progress of a job without delaying it: one update at a time, at most five per second. */
export function createProgressReporter(job: ProgressTarget, options: ProgressReporterOptions = {}): ProgressReporter {
  return new ThrottledReporter(job, options.onError ?? (() => {}));
}

class ThrottledReporter implements ProgressReporter {
  readonly #job: ProgressTarget;
  readonly #onError: (error: unknown) => void;
  #steps: readonly TaskStep[] = [];
  #pending: TaskProgress | undefined;
  #sending: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastSent = Number.NEGATIVE_INFINITY;

  constructor(job: ProgressTarget, onError: (error: unknown) => void) {
    this.#job = job;
    this.#onError = onError;
  }

  get steps(): readonly TaskStep[] {
    return this.#steps;
  }

  report(update: ProgressUpdate): void {
    this.#steps = withStep(this.#steps, update);
    this.#pending = { ...update, steps: [...this.#steps] };
    this.#schedule();
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, flushTimeout);
    });
    await Promise.race([this.#sendRest(), late]);
    clearTimeout(timer);
  }

  #schedule(): void {
    if (this.#sending !== undefined || this.#timer !== undefined) return;
    const wait = this.#lastSent + shortestInterval - performance.now();
    if (wait <= 0) {
      void this.#send();
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#send();
    }, wait);
  }

  async #sendRest(): Promise<void> {
    // While an update was being sent, another one may have become the last.
    while (this.#sending !== undefined || this.#pending !== undefined) await (this.#sending ?? this.#send());
  }

  async #send(): Promise<void> {
    const progress = this.#pending;
    if (progress === undefined) return;
    this.#pending = undefined;
    this.#lastSent = performance.now();
    this.#sending = this.#update(progress);
    await this.#sending;
    this.#sending = undefined;
    if (this.#pending !== undefined) this.#schedule();
  }

  async #update(progress: TaskProgress): Promise<void> {
    try {
      await this.#job.updateProgress(progress);
    } catch (error) {
      this.#onError(error);
    }
  }
}

/** The steps with the update in place of its phase's line, or at the end when the phase is new. */
function withStep(steps: readonly TaskStep[], { phase, line }: ProgressUpdate): TaskStep[] {
  const known = steps.some((step) => step.phase === phase);
  return known ? steps.map((step) => (step.phase === phase ? { phase, line } : step)) : [...steps, { phase, line }];
}
