import { describe, expect, test } from '@jest/globals';
import { together } from '../image/together.ts';
import { wait } from '../image/wait.ts';

const HOUR = 3_600_000;

describe('together', () => {
  test('ends when all have ended', async () => {
    const ended: string[] = [];
    await together(new AbortController().signal, [
      async () => {
        await new Promise(setImmediate);
        ended.push('late');
      },
      async () => {
        ended.push('early');
      },
    ]);
    expect(ended).toEqual(['early', 'late']);
  });

  test('the first failure aborts the others, is thrown, and only after they have ended', async () => {
    let ended = false;
    const run = together(new AbortController().signal, [
      async (signal) => {
        try {
          await wait(HOUR, signal);
        } finally {
          await new Promise(setImmediate);
          ended = true;
        }
      },
      () => Promise.reject(new Error('broken')),
    ]);
    await expect(run).rejects.toThrow('broken');
    expect(ended).toBe(true);
  });

  test('what fails because it was aborted is not told instead', async () => {
    const run = together(new AbortController().signal, [
      (signal) => wait(HOUR, signal).catch(() => Promise.reject(new Error('aborted'))),
      () => Promise.reject(new Error('broken')),
    ]);
    await expect(run).rejects.toThrow('broken');
  });

  test('aborting from outside ends all with the reason given', async () => {
    const outside = new AbortController();
    const run = together(outside.signal, [(signal) => wait(HOUR, signal), (signal) => wait(HOUR, signal)]);
    outside.abort(new Error('stop'));
    await expect(run).rejects.toThrow('stop');
  });
});
