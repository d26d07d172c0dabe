import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Tinypool } from 'tinypool';
import * as z from 'zod';
import { RootfsError, threadFailure } from './error.ts';

/** Work that the thread's program does; `thread-program.ts` exports each by its name. */
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
  /** Called once with a function that sends a message to the work under way. */
  readonly onStart?: (send: (message: unknown) => void) => void;
  /** Called with each message of the work, which closes its port at its end; the result comes after the last one. */
  readonly onMessage?: (message: unknown) => void;
}

/**
 * Threads that are kept from one piece of work to the next. A fresh thread for each cost 90 ms of loading and had to
 * compile its hot functions anew: of a 1 GB image's six layers, 1.2 s of 7 s of CPU.
 */
let pool: Tinypool | undefined;

/** More than there are cores: a thread whose download stalls must not keep others waiting. Callers bound what they start. */
const MAX_THREADS = 16;

/**
 * Megabytes of a thread's young generation: 16 MB decode and build a 1 GB image no faster and take 22 MB more of memory, the default
 * 40 MB more.
 */
const YOUNG_GENERATION_MB = 4;

/** Milliseconds that a thread above the number of cores stays without work. */
const IDLE_TIMEOUT = 10_000;

/** The built program: beside the bundle that this code is in, or in `dist` when run from sources (tests). */
function threadProgram(): string {
  const directory = import.meta.url.endsWith('.ts') ? '../../dist/' : './';
  return fileURLToPath(new URL(`${directory}rootfs-thread.js`, import.meta.url));
}

/**
 * Nobody listens for its errors: a thread that fails while it starts ends the process, and others take over its tasks. It would leave
 * the work that waits for it waiting for ever.
 */
function threads(): Tinypool {
  pool ??= new Tinypool({
    filename: threadProgram(),
    minThreads: Math.min(availableParallelism(), MAX_THREADS),
    maxThreads: MAX_THREADS,
    idleTimeout: IDLE_TIMEOUT,
    concurrentTasksPerWorker: 1,
    // A thread without work must not block: its streams close after the work's end.
    useAtomics: false,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
  return pool;
}

/** Starts the threads, so that the first work finds them ready. They end with the process, and do not keep it alive. */
export function startThreads(): void {
  threads();
}

/**
 * Does a piece of work on a thread, to its end. Aborting the signal ends the thread where it stands.
 *
 * @throws RootfsError the work's failure, or `cancelled`
 */
export async function runOnThread<Result>(run: ThreadRun<Result>): Promise<Result> {
  const { signal } = run;
  if (signal?.aborted) throw cancelled(signal);
  const { port1, port2 } = new MessageChannel();
  // Results come by another way: a message may still be on its own when they are there, but not when its port is closed.
  const toldAll = run.onMessage === undefined ? undefined : once(port1.on('message', run.onMessage), 'close');
  try {
    const answered = threads().run(
      { input: run.input, port: port2 },
      { name: run.work, transferList: [port2], signal: signal ?? null },
    );
    run.onStart?.((message) => port1.postMessage(message));
    const parsed = answer.parse(await answered);
    if (parsed.kind === 'done') {
      await toldAll;
      return run.result.parse(parsed.result);
    }
    const { code, message, ...details } = parsed.failure;
    throw new RootfsError(code, message, details);
  } catch (error) {
    if (signal?.aborted) throw cancelled(signal);
    if (error instanceof RootfsError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new RootfsError('internal', `a worker thread failed: ${message}`, { retryable: true, cause: error });
  } finally {
    port1.close();
  }
}

function cancelled(signal: AbortSignal): RootfsError {
  return new RootfsError('cancelled', 'the work was cancelled', { cause: signal.reason });
}
