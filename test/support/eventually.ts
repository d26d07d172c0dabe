import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach } from '@jest/globals';

/** Ms between two questions. */
const INTERVAL = 20;

/** Aborted when the test, or the hook, that waits has ended. */
let waiting = new AbortController();

/** Also ends the waits of a test that timed out: jest would not exit while one goes on. */
function endWaits(): void {
  waiting.abort(new Error('the test ended before the answer was there'));
  waiting = new AbortController();
}
afterEach(endWaits);
afterAll(endWaits);

type Maybe<T> = T | undefined | null | false;

/** Repeats the question until its answer is none of undefined, null and false, and resolves with that. The test's timeout is the limit. */
export async function eventually<T>(question: () => Promise<Maybe<T>> | Maybe<T>): Promise<T> {
  const { signal } = waiting;
  for (;;) {
    const answer = await question();
    if (answer !== undefined && answer !== null && answer !== false) return answer;
    signal.throwIfAborted();
    await sleep(INTERVAL);
  }
}
