/** The worker program: takes pulls from the queue until it is told to stop. Settings come from the environment, see README.md. */
import { createLogger } from '@bhatti/logging';
import { readOperatorSettings } from '@bhatti/oci';
import { requireE2fsprogs, startThreads } from '@bhatti/rootfs';
import { openStore, resolveDataDirectory } from '@bhatti/store';
import { loadSecretKey, redirectClientWarnings } from '@bhatti/tasks';
import { startTracing, type Tracing } from '@bhatti/tracing';
import type { Logger } from 'pino';
import { readEnvironment } from './environment.ts';
import { openOverlay } from './image/overlay.ts';
import { describeFailure } from './job/failure.ts';
import { type RunningWorker, startWorker } from './worker.ts';

/** Milliseconds for handing jobs back. Then the process exits regardless, and its jobs are taken over. */
const STOP_DEADLINE = 8000;

async function main(): Promise<void> {
  // So that what libraries and tools write into the data directory is private, too.
  process.umask(0o077);
  refuseArguments(process.argv.slice(2));
  const environment = readEnvironment(process.env);
  const logger = createLogger({ name: 'worker', level: environment.logLevel });
  redirectClientWarnings((line) => logger.warn(line));
  process.on('unhandledRejection', (error) => die(logger, error));
  process.on('uncaughtException', (error) => die(logger, error));
  const stopRequested = whenStopRequested();
  const tracing = await startTracing({
    service: 'bhatti-worker',
    version: process.env.BHATTI_VERSION ?? 'development',
    env: process.env,
    onProblem: (message) => logger.warn(`traces: ${message}`),
  });
  const store = await openStore(resolveDataDirectory({ env: process.env }));
  for (const warning of store.warnings) logger.warn(warning);
  await warnWithoutTools(logger);
  startThreads();
  const overlay =
    environment.overlay === undefined
      ? undefined
      : await openOverlay(environment.overlay, store, environment.limits.layer);
  const starting = startWorker({
    store,
    redisUrl: environment.redisUrl ?? store.paths.redisSocket,
    concurrency: environment.concurrency,
    cacheBytes: environment.cacheBytes,
    housekeepingInterval: environment.housekeepingInterval,
    secretKey: await loadSecretKey({ path: store.paths.secretKeyFile, env: process.env }),
    registry: await readOperatorSettings(process.env, store.directory),
    overlay,
    limits: environment.limits,
    logger,
    tracing,
  });
  const worker = await Promise.race([starting, stopRequested]);
  // Redis was not there yet, so there are no jobs to hand back.
  if (typeof worker === 'string') process.exit(0);
  logger.info({ data_directory: store.directory, concurrency: environment.concurrency }, 'ready');
  if (process.connected) process.send?.({ type: 'ready' });
  logger.info({ reason: await stopRequested }, 'stopping');
  await stop(worker, tracing, logger);
}

/** One that was overlooked would let the worker run otherwise than it was meant to. Not repeated: it may hold a password. */
function refuseArguments(given: readonly string[]): void {
  if (given.length === 0) return;
  throw new Error('no arguments are taken; the settings are environment variables, such as BHATTI_CONCURRENCY');
}

/** Resolves with the reason to stop: a signal, or `disconnect` once the supervisor that forked this process is gone. */
function whenStopRequested(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve(signal));
    process.once('disconnect', () => resolve('disconnect'));
    // It was gone before this listened.
    if (process.send !== undefined && !process.connected) resolve('disconnect');
  });
}

/** Pulls fail without the tools, and say so. They may be installed while the worker runs, so their absence is not fatal. */
async function warnWithoutTools(logger: Logger): Promise<void> {
  try {
    await requireE2fsprogs();
  } catch (error) {
    logger.warn(describeFailure(error).message);
  }
}

async function stop(worker: RunningWorker, tracing: Tracing | undefined, logger: Logger): Promise<never> {
  setTimeout(() => {
    logger.warn('stopping took too long; ending the process');
    process.exit(0);
  }, STOP_DEADLINE).unref();
  await worker.close();
  await tracing?.close();
  logger.info('stopped');
  process.exit(0);
}

/** BullMQ gives the jobs of a dead process to another; going on in an unknown state would be worse. */
function die(logger: Logger, error: unknown): never {
  logger.fatal({ err: error }, 'the worker ends because of an error that nothing handled');
  process.exit(1);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`bhatti worker: ${describeFailure(error).message}\n`);
  process.exit(1);
}
