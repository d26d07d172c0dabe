import { setTimeout as sleep } from 'node:timers/promises';

/** What the question answers once that is neither undefined nor false. The test's own timeout ends a wait in vain. */
export async function eventually<T>(question: () => Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const answer = await question();
    if (answer !== undefined && answer !== false) return answer;
    await sleep(20);
  }
}
