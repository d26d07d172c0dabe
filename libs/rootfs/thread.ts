import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import { RootfsError, threadFailure } from './error.ts';

/** Programs that run on worker threads; the build bundles each to a file of its own. */
export type ThreadName = 'decode-thread' | 'build-thread';

const answer = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('done'), result: z.unknown() }),
  z.object({ kind: z.literal('failed'), failure: threadFailure }),
]);

export interface ThreadRun<Result> {
  readonly name: ThreadName;
  /** Structured-cloneable. */
  readonly input: unknown;
  readonly result: z.ZodType<Result>;
  readonly signal?: AbortSignal | undefined;
  /** Called once with a function that sends a message to the thread. */
  readonly onStart?: (send: (message: unknown) => void) => void;
}

/** The built program of a thread: beside the bundle that this code is in, or in `dist` when run from sources (tests). */
function threadProgram(name: ThreadName): URL {
  const directory = import.meta.url.endsWith('.ts') ? '../../dist/' : './';
  return new URL(`${directory}${name}.js`, import.meta.url);
}

/**
 * Runs a program on a thread of its own to its end. Aborting the signal ends the thread where it stands.
 *
 * @throws RootfsError the thread's failure, or `cancelled`
 */
export async function runThread<Result>(run: ThreadRun<Result>): Promise<Result> {
  if (run.signal?.aborted) throw cancelled(run.signal);
  const worker = new Worker(threadProgram(run.name), { workerData: run.input });
  const onAbort = () => void worker.terminate();
  run.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await new Promise<Result>((resolve, reject) => {
      worker.on('message', (message: unknown) => {
        const parsed = answer.parse(message);
        if (parsed.kind === 'done') resolve(run.result.parse(parsed.result));
        else {
          const { code, message: text, retryable } = parsed.failure;
          reject(new RootfsError(code, text, { retryable }));
        }
      });
      worker.on('error', (error) =>
        reject(
          new RootfsError('internal', `a worker thread failed: ${error.message}`, { retryable: true, cause: error }),
        ),
      );
      worker.on('exit', () =>
        reject(
          run.signal?.aborted
            ? cancelled(run.signal)
            : new RootfsError('internal', 'a worker thread ended early', { retryable: true }),
        ),
      );
      run.onStart?.((message) => worker.postMessage(message));
    });
  } finally {
    run.signal?.removeEventListener('abort', onAbort);
    await worker.terminate();
  }
}

function cancelled(signal: AbortSignal): RootfsError {
  return new RootfsError('cancelled', 'the work was cancelled', { cause: signal.reason });
}
