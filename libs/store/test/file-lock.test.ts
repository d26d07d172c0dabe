import { mkdir, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { withFileLock } from '../file-lock.ts';
import { ownIdentity } from '../process-identity.ts';
import { temporaryName } from '../temporary-name.ts';
import { temporaryDirectory } from './support/fixture.ts';

/** Ms. */
const patience = { foreignPatience: 700 };

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let path: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory.path, 'list.lock');
});
afterEach(() => directory.remove());

describe('a lock of this host', () => {
  test('is never taken from who lives, and at once from who does not', async () => {
    const order: string[] = [];
    const first = withFileLock(path, async (requireHeld) => {
      order.push('first');
      // The other has looked by now, on a machine that is not too busy.
      await sleep(50);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      await requireHeld();
      order.push('first is done');
    });
    await eventually(async () => order.length > 0);
    const second = withFileLock(path, async () => void order.push('second'), { foreignPatience: 0 });
    await Promise.all([first, second]);
    expect(order).toEqual(['first', 'first is done', 'second']);

    await writeFile(path, temporaryName({ ...(await ownIdentity()), startTime: '1' }));
    await withFileLock(path, async () => void order.push('third'), { foreignPatience: Number.POSITIVE_INFINITY });
    expect(order).toHaveLength(4);
    expect(await readdir(directory.path)).toEqual([]);
  });

  test('of one that died stops none of many who find it at the same time', async () => {
    await writeFile(path, temporaryName({ ...(await ownIdentity()), startTime: '1' }));
    await Promise.all(Array.from({ length: 8 }, () => withFileLock(path, async () => {})));
    expect(await readdir(directory.path)).toEqual([]);
  });

  test('whose holder cannot be told is waited for, and then taken away', async () => {
    await writeFile(path, 'not a name');
    const began = performance.now();
    await withFileLock(path, async () => {}, patience);
    expect(performance.now() - began).toBeGreaterThanOrEqual(patience.foreignPatience - 1);
    expect(await readdir(directory.path)).toEqual([]);
  });

  test('that somebody removed is held no more, which is told before what cannot be undone', async () => {
    await withFileLock(path, () => rm(path));
    const working = withFileLock(path, async (requireHeld) => {
      await rm(path);
      await requireHeld();
    });
    await expect(working).rejects.toMatchObject({ code: 'internal', retryable: true });
    expect(await readdir(directory.path)).toEqual([]);
  });

  test('that cannot be read is told of at once, and nothing is left beside it', async () => {
    await mkdir(path);
    await expect(withFileLock(path, async () => {})).rejects.toMatchObject({ code: 'EISDIR' });
    expect(await readdir(directory.path)).toEqual(['list.lock']);
  });
});

describe('a lock of another host', () => {
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
