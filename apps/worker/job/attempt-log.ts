import type { TaskJob } from '@bhatti/tasks';
import type { Logger } from 'pino';
import { type Failure, isUnexplained } from './failure.ts';

/** What is said of one attempt at a task: in the job's own log in Redis, for operators, and in that of the worker. */
export class AttemptLog {
  readonly logger: Logger;
  readonly #job: TaskJob;
  readonly #started = performance.now();

  constructor(logger: Logger, job: TaskJob) {
    this.logger = logger;
    this.#job = job;
  }

  /** Writes a line to both logs. Never rejects. */
  async note(line: string): Promise<void> {
    this.logger.info(line);
    await this.#noteOnJob(line);
  }

  /**
   * Tells the worker's log how the attempt failed.
   * @param error what was thrown, for failures that their message does not explain
   */
  failed(failure: Failure, error: unknown, isLast: boolean): void {
    const details = {
      code: failure.code,
      attempt: this.#job.attemptsMade + 1,
      retried: !isLast,
      duration_ms: Math.round(performance.now() - this.#started),
    };
    const message = `${howItFailed(isLast)}: ${failure.message}`;
    if (isUnexplained(failure)) this.logger.error({ ...details, err: error }, message);
    else if (isLast) this.logger.info(details, message);
    else this.logger.warn(details, message);
  }

  /** Tells the job's log, too, which takes that the job is still this worker's. Never rejects. */
  async noteFailure({ code, message }: Failure, isLast: boolean): Promise<void> {
    await this.#noteOnJob(`${howItFailed(isLast)}: ${code}: ${message}`);
  }

  async #noteOnJob(line: string): Promise<void> {
    try {
      await this.#job.log(`${new Date().toISOString()} ${line}`);
    } catch (error) {
      this.logger.warn({ err: error }, 'cannot write to the log of the job');
    }
  }
}

function howItFailed(isLast: boolean): string {
  return isLast ? 'failed' : 'failed, to be tried again';
}
