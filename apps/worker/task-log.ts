import { AsyncLocalStorage } from 'node:async_hooks';
import type { Logger } from 'pino';

const loggers = new AsyncLocalStorage<Logger>();

/** Runs the work of a task: what is logged by parts that know nothing of tasks goes to its logger, see `taskLogger`. */
export function withTaskLogger<Result>(logger: Logger, work: () => Promise<Result>): Promise<Result> {
  return loggers.run(logger, work);
}

/** The logger of the task that is worked on here, or the other. */
export function taskLogger(otherwise: Logger): Logger {
  return loggers.getStore() ?? otherwise;
}
