/**
 * The API process: settings from the environment, one clear line and exit 1 when it cannot start. SIGTERM ends it, and
 * so does the end of a supervisor that gave it an IPC channel.
 */
import { createLogger } from '@bhatti/logging';
import { redirectClientWarnings } from '@bhatti/tasks';
import { startTracing, type Tracing } from '@bhatti/tracing';
import type { Logger } from 'pino';
import * as z from 'zod';
import { ConfigError, readConfig } from './config.ts';
import { type RunningApi, startApi } from './server.ts';
import { version } from './version.ts';

/** The process exits after this long even if its stop hangs, before a supervisor sends SIGKILL. */
const stopMilliseconds = 4_500;

const explained = z.object({ message: z.string() });

async function main(): Promise<void> {
  process.umask(0o077);
  refuseArguments(process.argv.slice(2));
  const config = readConfig(process.env);
  const log = createLogger({ name: 'api', level: config.logLevel });
  redirectClientWarnings((line) => log.warn(line));
  process.on('unhandledRejection', (error) => die(log, error));
  process.on('uncaughtException', (error) => die(log, error));
  // Before the start: a signal that comes meanwhile must not leave a socket behind.
  const stopRequested = whenStopRequested();
  const tracing = await startTracing({
    service: 'bhatti-api',
    version,
    env: process.env,
    onProblem: (message) => log.warn(`traces: ${message}`),
  });
  const stopping = new AbortController();
  void stopRequested.then(() => stopping.abort());
  const api = await startApi(config, process.env, log, tracing, stopping.signal);
  log.info({ reason: await stopRequested }, 'stopping');
  await stop(api, tracing, log);
}

/** One that was overlooked would let the API run otherwise than it was meant to. Not repeated: it may hold a password. */
function refuseArguments(given: readonly string[]): void {
  if (given.length === 0) return;
  throw new ConfigError('no arguments are taken; the settings are environment variables, such as BHATTI_LISTEN');
}

/** Resolves with the reason to stop: a signal, or `disconnect` once the supervisor that started this process is gone. */
function whenStopRequested(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
    process.once('disconnect', () => resolve('disconnect'));
    // It may have gone before this line.
    if (process.connected === false) resolve('disconnect');
  });
}

async function stop(api: RunningApi, tracing: Tracing | undefined, log: Logger): Promise<never> {
  setTimeout(() => {
    log.warn('stopping took too long; ending the process');
    process.exit(0);
  }, stopMilliseconds).unref();
  await api.close();
  await tracing?.close();
  log.info('stopped');
  process.exit(0);
}

function die(log: Logger, error: unknown): never {
  log.fatal({ err: error }, 'the API ends because of an error that nothing handled');
  process.exit(1);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`bhatti api: ${explained.safeParse(error).data?.message ?? 'cannot start'}\n`);
  process.exit(1);
}
