import { setTimeout as sleep } from 'node:timers/promises';

/** Asks again and again until the answer is there. The test's own timeout is the end of it. */
export async function until<T>(
  ask: () => Promise<T | undefined | null | false> | T | undefined | null | false,
): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== null && answer !== false) return answer;
    await sleep(10);
  }
}
