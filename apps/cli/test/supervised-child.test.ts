import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type ChildEvents, type SupervisedChild, superviseChild } from '../serve/supervised-child.ts';

const LIVES = 'process.send({ type: "ready" }); setInterval(() => {}, 1e6);';

let child: SupervisedChild | undefined;
afterEach(() => child?.kill());

/** Supervises `node -e script` and lets a test wait until something holds. */
function supervise(script: string, { stopTimeout = 20_000, command = process.execPath } = {}) {
  const deaths: Parameters<ChildEvents['onDeath']>[0][] = [];
  const checks = new Set<() => void>();
  const news = () => {
    for (const check of checks) check();
  };
  const supervised = superviseChild(
    {
      name: 'child',
      command,
      args: ['-e', script],
      env: process.env,
      ipc: true,
      readiness: 'message',
      stopTimeout,
    },
    {
      onChange: news,
      onDeath: (death) => {
        deaths.push(death);
        news();
      },
    },
  );
  child = supervised;
  const until = (condition: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (!condition()) return;
        checks.delete(check);
        resolve();
      };
      checks.add(check);
      check();
    });
  return { supervised, deaths, until };
}

function pidOf(supervised: SupervisedChild): number {
  if (supervised.pid === undefined) throw new Error('not running');
  return supervised.pid;
}

describe('superviseChild', () => {
  test('is ready when the child says so, and starts it again when it is killed', async () => {
    const { supervised, deaths, until } = supervise(LIVES);
    await until(() => supervised.ready);
    const first = pidOf(supervised);
    process.kill(first, 'SIGKILL');
    await until(() => deaths.length === 1);
    expect(deaths).toEqual([{ outcome: 'SIGKILL', deaths: 1, pause: 250 }]);
    expect(supervised.pid).toBeUndefined();
    expect(supervised.ready).toBe(false);
    await until(() => supervised.ready);
    expect(pidOf(supervised)).not.toBe(first);
  });

  test('waits longer with each death in a row', async () => {
    const { deaths, until } = supervise('process.exit(3)');
    await until(() => deaths.length === 2);
    expect(deaths).toEqual([
      { outcome: 'exit code 3', deaths: 1, pause: 250 },
      { outcome: 'exit code 3', deaths: 2, pause: 500 },
    ]);
  });

  test.each([
    // One failure comes as an event, the other is thrown.
    ['ENOENT', '/no/such/program'],
    ['ENOTDIR', '/dev/null/program'],
  ])('a child that cannot be started (%s) is tried again', async (code, command) => {
    const { supervised, deaths, until } = supervise('', { command });
    await until(() => deaths.length === 2);
    expect(deaths.map(({ pause }) => pause)).toEqual([250, 500]);
    expect(deaths[0]?.outcome).toContain(code);
    expect(supervised.pid).toBeUndefined();
  });

  test('stop ends the child and does not start it again', async () => {
    const { supervised, deaths, until } = supervise(LIVES);
    await until(() => supervised.ready);
    const pid = pidOf(supervised);
    await supervised.stop();
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    expect(deaths).toEqual([]);
    await supervised.stop();
  });

  test('stop kills a child that does not listen', async () => {
    const { supervised, until } = supervise(`process.on('SIGTERM', () => {}); ${LIVES}`, { stopTimeout: 50 });
    await until(() => supervised.ready);
    const pid = pidOf(supervised);
    await supervised.stop();
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  test('stop during the pause before a restart leaves nothing running', async () => {
    const { supervised, deaths, until } = supervise('process.exit(1)');
    await until(() => deaths.length === 1);
    await supervised.stop();
    await delay(2 * (deaths[0]?.pause ?? 0));
    expect([supervised.pid, deaths.length]).toEqual([undefined, 1]);
  });
});
