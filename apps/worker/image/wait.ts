import { setTimeout as sleep } from 'node:timers/promises';

/** Waits; rejects with the signal's own reason (not Node's AbortError) when it is aborted first. */
export async function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}
