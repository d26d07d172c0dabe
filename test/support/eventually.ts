import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach } from '@jest/globals';

/** Ms between two questions. */
const INTERVAL = 20;

/** Ends with the test, or the hook, that waits. */
let waiting = new AbortController();

/** A test whose time is up has ended, too: nothing of it may go on asking, or jest does not end. */
function endWaits(): void {
  waiting.abort(new Error('the test ended before the answer was there'));
  waiting = new AbortController();
}
afterEach(endWaits);
afterAll(endWaits);

type Maybe<T> = T | undefined | null | false;

/** What the question answers once that is none of undefined, null and false. The test's own timeout ends a wait in vain. */
export async function eventually<T>(question: () => Promise<Maybe<T>> | Maybe<T>): Promise<T> {
  const { signal } = waiting;
  for (;;) {
    const answer = await question();
    if (answer !== undefined && answer !== null && answer !== false) return answer;
    signal.throwIfAborted();
    await sleep(INTERVAL);
  }
}
