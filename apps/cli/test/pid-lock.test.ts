import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { acquirePidLock, LOCK_EXPIRY, pidLockHolder } from '../serve/pid-lock.ts';
import { identifyProcess, processState } from '../serve/process-identity.ts';
import { bundle } from './staged-cli.ts';

let directory: string;
let lockModule: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-lock-'));
  lockModule = join(directory, 'pid-lock.mjs');
  await bundle('serve/pid-lock.ts', lockModule);
});
afterAll(() => rm(directory, { recursive: true }));

/** Starts a process that tries to take the lock, says `taken` or `held`, and lives until its stdin ends. */
async function contend(path: string): Promise<{ child: ChildProcess; outcome: string }> {
  const script = `
    const { acquirePidLock } = await import(${JSON.stringify(lockModule)});
    const outcome = await acquirePidLock(${JSON.stringify(path)});
    console.log('lock' in outcome ? 'taken' : 'held');
    process.stdin.resume();`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [outcome] = await once(createInterface({ input: child.stdout }), 'line');
  return { child, outcome: String(outcome) };
}

async function kill(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

async function takeLock(path: string) {
  const outcome = await acquirePidLock(path);
  if (!('lock' in outcome)) throw new Error(`held by ${outcome.holder.pid}`);
  return outcome.lock;
}

describe('pid lock', () => {
  test('names its holder, and can be taken again once it is released', async () => {
    const path = join(directory, 'released');
    const lock = await takeLock(path);
    expect(await acquirePidLock(path)).toEqual({ holder: identifyProcess(process.pid) });
    expect(await pidLockHolder(path)).toEqual(identifyProcess(process.pid));
    await lock.refresh();
    await lock.release();
    expect(await pidLockHolder(path)).toBeUndefined();
    await (await takeLock(path)).release();
  });

  test('of many that find a lock left behind by a killed process, one takes it', async () => {
    const path = join(directory, 'contended');
    const first = await contend(path);
    expect(first.outcome).toBe('taken');
    expect(await contend(path).then(({ child, outcome }) => kill(child).then(() => outcome))).toBe('held');
    await kill(first.child);
    const contenders = await Promise.all(Array.from({ length: 6 }, () => contend(path)));
    expect(contenders.map(({ outcome }) => outcome).sort()).toEqual(['held', 'held', 'held', 'held', 'held', 'taken']);
    await Promise.all(contenders.map(({ child }) => kill(child)));
    expect((await readdir(directory)).filter((name) => name.startsWith('contended'))).toEqual(['contended']);
  });

  test('a pid that is in use again by another process does not hold it', async () => {
    const path = join(directory, 'reused');
    await writeFile(path, JSON.stringify({ ...identifyProcess(process.pid), startTime: '1' }));
    expect(await pidLockHolder(path)).toBeUndefined();
    await (await takeLock(path)).release();
  });

  test('a holder of an earlier boot is gone', async () => {
    const path = join(directory, 'rebooted');
    await writeFile(path, JSON.stringify({ ...identifyProcess(process.pid), boot: 'earlier' }));
    await (await takeLock(path)).release();
  });

  test('a holder on another host counts until it has not refreshed its lock for a minute', async () => {
    const path = join(directory, 'elsewhere');
    const other = { ...identifyProcess(process.pid), host: 'elsewhere.invalid' };
    await writeFile(path, JSON.stringify(other));
    expect(await acquirePidLock(path)).toEqual({ holder: other });
    const old = new Date(Date.now() - LOCK_EXPIRY - 60_000);
    await utimes(path, old, old);
    await (await takeLock(path)).release();
  });

  test('what a contender on another host was taking over when it died is taken over', async () => {
    const path = join(directory, 'claimed');
    const dead = { ...identifyProcess(process.pid), startTime: '1' };
    const claim = `${path}.stale-${process.pid}-1`;
    await writeFile(path, JSON.stringify(dead));
    await writeFile(claim, JSON.stringify({ ...dead, host: 'elsewhere.invalid' }));
    const old = new Date(Date.now() - LOCK_EXPIRY - 60_000);
    await utimes(claim, old, old);
    await (await takeLock(path)).release();
    expect((await readdir(directory)).filter((name) => name.startsWith('claimed'))).toEqual([]);
  });

  test('a file that is no lock is replaced', async () => {
    const path = join(directory, 'garbage');
    await writeFile(path, 'not ours');
    const lock = await takeLock(path);
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(identifyProcess(process.pid));
    await lock.release();
  });

  test('release leaves a lock that is another’s by now', async () => {
    const path = join(directory, 'lost');
    const lock = await takeLock(path);
    await writeFile(path, JSON.stringify({ ...identifyProcess(process.pid), host: 'elsewhere.invalid' }));
    await lock.release();
    await lock.refresh();
    expect(await readFile(path, 'utf8')).toContain('elsewhere.invalid');
  });

  test('a process that has ended is dead', async () => {
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] });
    const identity = identifyProcess(child.pid ?? 0);
    if (identity === undefined) throw new Error('the child is not seen');
    expect(processState(identity)).toBe('alive');
    await kill(child);
    expect(processState(identity)).toBe('dead');
  });
});
