import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { enqueuePull, findTask, isEnded, MAX_DEATHS, queueKey } from '../index.ts';
import { data, QueueFixture, result } from './support/fixture.ts';
import { buildHangingWorker, startWorkerProcess, type WorkerProcess } from './support/worker-process.ts';

/**
 * Ms between looks for abandoned jobs. For the real one, and for a lock to run out by itself, apps/worker/test/process.test.ts
 * waits.
 */
const soon = { stalledInterval: 100 };

describe('a task whose worker dies', () => {
  let fixture: QueueFixture;
  let directory: string;
  let file: string;
  const children: WorkerProcess[] = [];

  beforeAll(async () => {
    fixture = await QueueFixture.start();
    directory = await mkdtemp(join(tmpdir(), 'bhatti-worker-'));
    file = await buildHangingWorker(directory);
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await child.kill('SIGKILL');
    await fixture.reset();
  });
  afterAll(async () => {
    await fixture.stop();
    await rm(directory, { recursive: true, force: true });
  });

  function startChild(): WorkerProcess {
    const child = startWorkerProcess({ file, redis: fixture.server.url, ...soon });
    children.push(child);
    return child;
  }

  /** What time does to the lock of a worker that is dead, or stands still. Short locks would run out on a busy machine, too. */
  async function lockRunsOut(id: string): Promise<void> {
    expect(await fixture.connect('request').del(queueKey(`${id}:lock`))).toBe(1);
  }

  /** A worker of this process begins the job, and neither ends it nor tells Redis anything more. */
  async function beginsAndIsGone(id: string): Promise<void> {
    let hasBegun = (_id: string | undefined): void => {};
    const begun = new Promise<string | undefined>((resolve) => {
      hasBegun = resolve;
    });
    const worker = fixture.worker(async (job) => {
      hasBegun(job.id);
      return await new Promise(() => {});
    }, soon);
    expect(await begun).toBe(id);
    await worker.close(true);
  }

  test.each(['SIGKILL', 'SIGSTOP'] as const)(
    'is taken over by another after %s, as the same attempt',
    async (signal) => {
      const queue = fixture.queue();
      const { id } = await enqueuePull(queue, data);
      const victim = startChild();
      expect(await victim.started).toBe(id);
      const attempts: number[] = [];
      fixture.worker(async (job) => {
        attempts.push(job.attemptsMade);
        return result;
      }, soon);
      const seen = new Set<string>();
      if (signal === 'SIGKILL') await victim.kill(signal);
      else process.kill(victim.pid, signal);
      await lockRunsOut(id);
      const view = await eventually(async () => {
        const task = await findTask(queue, id);
        seen.add(task?.view.status ?? 'missing');
        return task !== null && isEnded(task.view.status) ? task.view : undefined;
      });
      expect(view).toMatchObject({ status: 'completed', result });
      expect(attempts).toEqual([0]);
      expect(await queue.getJob(id)).toMatchObject({ attemptsMade: 1, attemptsStarted: 2, stalledCounter: 1 });
      for (const status of seen) expect(['queued', 'running', 'completed']).toContain(status);
    },
  );

  test('fails as worker_crashed when no worker lives long enough to say so', async () => {
    const queue = fixture.queue();
    const { id } = await enqueuePull(queue, data);
    const child = startChild();
    expect(await child.started).toBe(id);
    await child.kill('SIGKILL');
    await lockRunsOut(id);
    // What is seen of a death is a job that nobody goes on with: for the others, no process has to be started.
    for (let death = 2; death <= MAX_DEATHS + 1; death += 1) {
      await beginsAndIsGone(id);
      await lockRunsOut(id);
    }
    fixture.worker(async () => result, soon);
    const view = await eventually(async () => {
      const task = await findTask(queue, id);
      return task !== null && isEnded(task.view.status) ? task.view : undefined;
    });
    const message = expect.stringContaining('6 times');
    expect(view).toMatchObject({ status: 'failed', error: { code: 'worker_crashed', message }, result: null });
  });
});
