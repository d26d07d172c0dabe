import { expect, test } from '@jest/globals';
import { Activity } from '../activity.ts';

const never = new AbortController().signal;

test('there is no lull while something runs', async () => {
  const activity = new Activity();
  let end = () => {};
  const running = activity.during(() => new Promise<void>((resolve) => (end = resolve)));
  let isQuiet = false;
  const lull = activity.lull(60_000, never).then(() => (isQuiet = true));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isQuiet).toBe(false);
  end();
  await running;
  await lull;
  expect(isQuiet).toBe(true);
});

test('patience ends, whatever runs', async () => {
  const activity = new Activity();
  let end = () => {};
  const running = activity.during(() => new Promise<void>((resolve) => (end = resolve)));
  await activity.lull(20, never);
  end();
  await running;
});

test('who is stopped waits no longer', async () => {
  const activity = new Activity();
  const stop = new AbortController();
  let end = () => {};
  const running = activity.during(() => new Promise<void>((resolve) => (end = resolve)));
  const lull = activity.lull(60_000, stop.signal);
  stop.abort();
  await lull;
  await activity.lull(60_000, stop.signal);
  end();
  await running;
});

test('a lull comes a second after work, which may have failed', async () => {
  const activity = new Activity();
  const began = performance.now();
  await expect(
    activity.during(async () => {
      throw new Error('broken');
    }),
  ).rejects.toThrow('broken');
  await activity.lull(60_000, never);
  // Less a bit, as timers may be early.
  expect(performance.now() - began).toBeGreaterThan(990);
});
