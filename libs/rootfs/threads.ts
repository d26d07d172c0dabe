import { once, setMaxListeners } from 'node:events';
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Tinypool } from 'tinypool';
import * as z from 'zod';
import { cancelled, RootfsError, threadFailure } from './error.ts';

/** The functions that `thread-program.ts` exports. */
export type ThreadWork = 'decode' | 'build' | 'digest';

const answer = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('done'), result: z.unknown() }),
  z.object({ kind: z.literal('failed'), failure: threadFailure }),
]);

export interface ThreadRun<Result> {
  readonly work: ThreadWork;
  /** Structured-cloneable. */
  readonly input: unknown;
  readonly result: z.ZodType<Result>;
  readonly signal?: AbortSignal | undefined;
  /** Called once with a function that sends a message to the running work. */
  readonly onStart?: (send: (message: unknown) => void) => void;
  /** Called with each message from the work, which has to close its port when it ends; `runOnThread` resolves after the last one. */
  readonly onMessage?: (message: unknown) => void;
}

/**
 * Threads that are reused. A new thread for each task took 90 ms to load and had to compile its hot functions again: for the six layers
 * of a 1 GB image, 1.2 s of 7 s of CPU.
 */
let pool: Tinypool | undefined;

/** More than there are cores: a thread whose download stalls must not block the others. Callers limit what they start. */
const MAX_THREADS = 16;

/**
 * Megabytes of a thread's young generation. With 16 MB, decoding and building a 1 GB image was no faster and took 22 MB more memory;
 * with V8's default, 40 MB more.
 */
const YOUNG_GENERATION_MB = 4;

/** Milliseconds after which an idle thread beyond the number of cores ends. */
const IDLE_TIMEOUT = 10_000;

/** The built program: next to the bundle that contains this code, or in `dist` when run from source (tests). */
function threadProgram(): string {
  const directory = import.meta.url.endsWith('.ts') ? '../../dist/' : './';
  return fileURLToPath(new URL(`${directory}rootfs-thread.js`, import.meta.url));
}

/**
 * There is deliberately no listener for the pool's errors: a thread that fails to start ends the process, and other workers take over its
 * tasks. Otherwise the work that waits for that thread would wait for ever.
 */
function threads(): Tinypool {
  pool ??= new Tinypool({
    filename: threadProgram(),
    minThreads: Math.min(availableParallelism(), MAX_THREADS),
    maxThreads: MAX_THREADS,
    idleTimeout: IDLE_TIMEOUT,
    concurrentTasksPerWorker: 1,
    // An idle thread must not block in Atomics.wait: streams close after the work has ended.
    useAtomics: false,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
  return pool;
}

/** Starts the threads ahead of the first work. They end with the process, and do not keep it alive. */
export function startThreads(): void {
  threads();
}

/** Ms. A program that hangs, on a network file system say, must not hold up a cancellation for as long as it does. */
const END_TIMEOUT = 3000;

/**
 * Runs work on a thread. Aborting the signal terminates the thread; this rejects once the thread has ended, so that nothing is written
 * afterwards. What the thread is waiting for, such as mke2fs, is given 3 s to end first.
 *
 * @throws RootfsError the work's failure, or `cancelled`
 */
export async function runOnThread<Result>(run: ThreadRun<Result>): Promise<Result> {
  const { signal } = run;
  if (signal?.aborted) throw cancelled(signal.reason);
  // As many may listen as work runs at once under one signal; Node warns of a leak at eleven.
  if (signal !== undefined) setMaxListeners(Number.POSITIVE_INFINITY, signal);
  const { port1, port2 } = new MessageChannel();
  if (run.onMessage !== undefined) port1.on('message', run.onMessage);
  const closed = once(port1, 'close');
  try {
    const answered = threads().run(
      { input: run.input, port: port2 },
      { name: run.work, transferList: [port2], signal: signal ?? null },
    );
    run.onStart?.((message) => port1.postMessage(message));
    const parsed = answer.parse(await answered);
    if (parsed.kind === 'done') {
      // The result comes through another channel, and may overtake messages; once the port is closed, all of them have arrived.
      if (run.onMessage !== undefined) await closed;
      return run.result.parse(parsed.result);
    }
    const { code, message, ...details } = parsed.failure;
    throw new RootfsError(code, message, details);
  } catch (error) {
    if (signal?.aborted) {
      // The port of work that no thread has begun is still here; the other end of any other port closes with its thread.
      port2.close();
      port1.ref();
      await Promise.race([closed, delay(END_TIMEOUT, undefined, { ref: false })]);
      throw cancelled(signal.reason);
    }
    if (error instanceof RootfsError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new RootfsError('internal', `a worker thread failed: ${message}`, { retryable: true, cause: error });
  } finally {
    port1.close();
  }
}
