/** Processes that find the lock of a dead one at the same time, in an order that the test decides. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { ownIdentity } from '../process-identity.ts';
import { temporaryName } from '../temporary-name.ts';
import { temporaryDirectory } from './support/fixture.ts';

const real = await import('node:fs/promises');
/** What happens just before the next rename, which goes on with what this resolves to. */
let beforeRename: (() => Promise<() => Promise<void>>) | undefined;

jest.unstable_mockModule('node:fs/promises', () => ({
  ...real,
  rename: async (from: string, to: string) => {
    const before = beforeRename;
    beforeRename = undefined;
    const after = await before?.();
    await real.rename(from, to);
    await after?.();
  },
}));
const { withFileLock } = await import('../file-lock.ts');

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let path: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory.path, 'list.lock');
  await writeFile(path, temporaryName({ ...(await ownIdentity()), startTime: '1' }));
});
afterEach(() => directory.remove());

/** Takes the lock that it finds, and has it by the time that this resolves. `end` tells whether it still had it at its end. */
async function holder(): Promise<{ readonly end: () => Promise<boolean> }> {
  let end = () => {};
  const told = new Promise<void>((resolve) => {
    end = resolve;
  });
  let work: Promise<boolean> | undefined;
  await new Promise<void>((acquired) => {
    work = withFileLock(path, async (requireHeld) => {
      acquired();
      await told;
      return requireHeld().then(
        () => true,
        () => false,
      );
    });
  });
  return {
    end: async () => {
      end();
      return (await work) ?? false;
    },
  };
}

test('one that takes away the lock of another, which is done before it could have it back, leaves none behind', async () => {
  let held: boolean | undefined;
  beforeRename = async () => {
    const other = await holder();
    return async () => {
      held = await other.end();
    };
  };
  let worked = false;
  await withFileLock(path, async (requireHeld) => {
    await requireHeld();
    worked = true;
  });
  // The other was told that it had lost the lock.
  expect([held, worked]).toEqual([false, true]);
  expect(await readdir(directory.path)).toEqual([]);
});

test('one that takes away the lock of another, which goes on, gives it back', async () => {
  const order: string[] = [];
  let other: Awaited<ReturnType<typeof holder>> | undefined;
  beforeRename = async () => {
    other = await holder();
    return async () => {};
  };
  const mine = withFileLock(path, async () => {
    order.push('mine');
  });
  // It looks again and again meanwhile.
  for (let looks = 0; looks < 5; looks += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  order.push('other');
  expect(await other?.end()).toBe(true);
  await mine;
  expect(order).toEqual(['other', 'mine']);
  expect(await readdir(directory.path)).toEqual([]);
});
