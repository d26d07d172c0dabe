import { OciError } from './error.ts';

/** The error for a cancelled request; its cause is the signal's reason. */
export function cancelledError(signal: AbortSignal): OciError {
  return new OciError('cancelled', 'the pull was cancelled', { cause: signal.reason });
}

/** Waits for a promise until the signal fires, after which its outcome is ignored. @throws OciError `cancelled` */
export function orCancelled<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(cancelledError(signal));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
