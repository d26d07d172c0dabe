import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { withFileLock } from '../file-lock.ts';
import { ownIdentity } from '../process-identity.ts';
import { temporaryName } from '../temporary-name.ts';
import { temporaryDirectory } from './support/fixture.ts';

/** Ms. */
const patience = { foreignPatience: 700 };

describe('a lock of another host', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let path: string;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    path = join(directory.path, 'list.lock');
  });
  afterEach(() => directory.remove());

  /** By the clock of that host it is an hour old. */
  async function takenElsewhere(): Promise<void> {
    await writeFile(path, temporaryName({ ...(await ownIdentity()), host: 'elsewhere' }));
    const long = new Date(Date.now() - 3600_000);
    await utimes(path, long, long);
  }

  test('is waited for, however old clocks make it, and taken away when it stays the same one’s', async () => {
    await takenElsewhere();
    const began = performance.now();
    let changed = began;
    const change = sleep(100).then(async () => {
      // Before it is written: who waits may see that at once.
      changed = performance.now();
      await takenElsewhere();
    });
    await withFileLock(path, async () => {}, patience);
    await change;
    // From when it went to the second: both live, for all that can be told.
    expect(performance.now() - changed).toBeGreaterThanOrEqual(patience.foreignPatience - 1);
    expect(await readdir(directory.path)).toEqual([]);
  });

  test('took ours away while this process hung: then what is not done yet is not done', async () => {
    const working = withFileLock(path, async (requireHeld) => {
      await requireHeld();
      await takenElsewhere();
      await requireHeld();
    });
    await expect(working).rejects.toMatchObject({ code: 'internal', retryable: true });
    expect(await readdir(directory.path)).toEqual(['list.lock']);
  });
});
