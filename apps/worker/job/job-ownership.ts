import type { JobLock } from './job-lock.ts';
import type { JobStop } from './stop.ts';

/** Whether a job is still that of the run that was given it. Once it is known not to be, the run is stopped. */
export class JobOwnership {
  readonly #lock: JobLock;
  readonly #jobId: string;
  readonly #token: string;
  readonly #stop: JobStop;

  constructor(lock: JobLock, jobId: string, token: string, stop: JobStop) {
    this.#lock = lock;
    this.#jobId = jobId;
    this.#token = token;
    this.#stop = stop;
  }

  isOwned(): Promise<boolean> {
    return this.#lock.isHeld(this.#jobId, this.#token);
  }

  /** Throws the reason of the stop if the job is another's. */
  async requireOwned(): Promise<void> {
    if (await this.isOwned()) return;
    this.#stop.stop('lock_lost');
    this.#stop.signal.throwIfAborted();
  }

  /** As `requireOwned`, and if the run was stopped meanwhile. Rejects while Redis takes no writes, too: this is one. */
  async renew(): Promise<void> {
    if (!(await this.#lock.hold(this.#jobId, this.#token))) this.#stop.stop('lock_lost');
    this.#stop.signal.throwIfAborted();
  }

  /** Whether the job is another worker's. A process that hung, and is stopped as it wakes, has not noticed yet. */
  async isLost(): Promise<boolean> {
    if (this.#stop.reason !== 'worker_stopping') return this.#stop.reason === 'lock_lost';
    return !(await this.isOwned());
  }
}
