import { AsyncLocalStorage } from 'node:async_hooks';
import type { Logger } from 'pino';

const loggers = new AsyncLocalStorage<Logger>();

/** Runs the work of a task. Parts that know nothing of tasks find its logger with `taskLogger`. */
export function withTaskLogger<Result>(logger: Logger, work: () => Promise<Result>): Promise<Result> {
  return loggers.run(logger, work);
}

/** The logger of the task in whose `withTaskLogger` this is called, or else `otherwise`. */
export function taskLogger(otherwise: Logger): Logger {
  return loggers.getStore() ?? otherwise;
}
