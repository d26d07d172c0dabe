import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import {
  cancelTask,
  enqueuePull,
  findTask,
  isEnded,
  jobError,
  RunningTasks,
  removeCredentials,
  subscribeCancellations,
  type TaskQueue,
} from '../index.ts';
import { data, type PullProcessor, QueueFixture, result } from './support/fixture.ts';

const cancelled = () => jobError({ code: 'cancelled', message: 'by the user', retryable: false });

/** Works until it is told to stop, as the contract asks of a processor. */
const obedient: PullProcessor = async (job, _token, signal) => {
  if (job.data.cancelRequested === true) throw cancelled();
  await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()));
  throw cancelled();
};

async function ended(queue: TaskQueue, id: string) {
  return eventually(async () => {
    const job = await queue.getJob(id);
    const task = await findTask(queue, id);
    return job?.finishedOn !== undefined && task !== null && isEnded(task.view.status) ? task.view : undefined;
  });
}

describe('cancelling a task', () => {
  let fixture: QueueFixture;

  beforeAll(async () => {
    fixture = await QueueFixture.start();
  });
  afterEach(() => fixture.reset());
  afterAll(() => fixture.stop());

  async function workers(count: number, processor: PullProcessor): Promise<void> {
    for (let made = 0; made < count; made += 1) {
      const running = new RunningTasks();
      fixture.worker((job, token) => running.run(job.id ?? '', (signal) => processor(job, token, signal)));
      const subscription = await subscribeCancellations(fixture.relay('worker'), fixture.queue('worker'), running);
      fixture.onEnd(() => subscription.close());
    }
  }

  test('that waits shows at once, and the next worker ends it', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay();
    const { id } = await enqueuePull(queue, data);
    const view = await cancelTask(queue, relay, id);
    expect(view).toMatchObject({ status: 'cancelled', error: { code: 'cancelled' } });
    await expect(cancelTask(queue, relay, id)).rejects.toMatchObject({ code: 'task_ended' });
    let worked = false;
    await workers(1, async (job, token, signal) => {
      worked ||= job.data.cancelRequested !== true;
      return obedient(job, token, signal);
    });
    expect(await ended(queue, id)).toMatchObject({
      status: 'cancelled',
      error: { code: 'cancelled', message: 'by the user' },
    });
    expect(worked).toBe(false);
  });

  test('lets the same pull be asked for anew', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay();
    const first = await enqueuePull(queue, data);
    await cancelTask(queue, relay, first.id);
    const second = await enqueuePull(queue, data);
    expect(second.created).toBe(true);
    await workers(1, async (job) => {
      if (job.data.cancelRequested === true) throw cancelled();
      return result;
    });
    expect((await ended(queue, first.id)).status).toBe('cancelled');
    expect((await ended(queue, second.id)).status).toBe('completed');
  });

  test('that runs reaches the worker that runs it, and no other task', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay();
    await workers(3, obedient);
    const ids = await Promise.all(
      ['a', 'b', 'c', 'd'].map(async (name) => (await enqueuePull(queue, { ...data, name })).id),
    );
    for (const id of ids) await eventually(async () => (await findTask(queue, id))?.view.status === 'running');
    const [first = '', ...others] = ids;
    await cancelTask(queue, relay, first);
    expect((await ended(queue, first)).status).toBe('cancelled');
    for (const id of others) expect((await findTask(queue, id))?.view.status).toBe('running');
    await Promise.all(others.map((id) => cancelTask(queue, relay, id)));
    for (const id of others) expect((await ended(queue, id)).status).toBe('cancelled');
  });

  test('that waits to be tried again ends soon', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay();
    await workers(1, async (job) => {
      if (job.data.cancelRequested === true) throw cancelled();
      throw jobError({ code: 'registry_error', message: '503', retryable: true });
    });
    const { id } = await enqueuePull(queue, data);
    await eventually(async () => (await (await queue.getJob(id))?.getState()) === 'delayed');
    await (await queue.getJob(id))?.changeDelay(3_600_000);
    await cancelTask(queue, relay, id);
    expect((await ended(queue, id)).status).toBe('cancelled');
  });

  test('that waits to be tried again, and is taken up that very moment, succeeds', async () => {
    const queue = fixture.queue();
    const { id } = await enqueuePull(queue, data);
    const crossing = fixture.queue();
    crossing.getJob = async (of) => {
      const job = await queue.getJob(of);
      // It has left the delayed set since.
      if (job !== undefined) job.getState = async () => 'delayed';
      return job;
    };
    expect(await cancelTask(crossing, fixture.relay(), id)).toMatchObject({ status: 'cancelled' });
  });

  test('reaches it also when it is picked up that very moment', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay();
    await workers(2, obedient);
    const ids: string[] = [];
    for (let round = 0; round < 30; round += 1) {
      const { id } = await enqueuePull(queue, { ...data, name: `round-${round}` });
      await sleep(round / 10);
      await cancelTask(queue, relay, id);
      ids.push(id);
    }
    for (const id of ids) expect((await ended(queue, id)).status).toBe('cancelled');
  });

  test('reaches it also when the message is lost, soon', async () => {
    const queue = fixture.queue();
    const deaf = fixture.relay();
    await deaf.close();
    await workers(1, obedient);
    const cancelLater = async (name: string) => {
      const { id } = await enqueuePull(queue, { ...data, name });
      await eventually(async () => (await findTask(queue, id))?.view.status === 'running');
      const told = performance.now();
      await cancelTask(queue, deaf, id);
      expect((await ended(queue, id)).status).toBe('cancelled');
      return performance.now() - told;
    };
    await cancelLater('first');
    // Begins just after a look at the flags, and so lasts until the next.
    expect(await cancelLater('second')).toBeLessThan(10_000);
  });

  test('does not wait for a message that does not get through: its flag is there already', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay();
    jest.spyOn(relay, 'publish').mockReturnValue(new Promise(() => {}));
    const { id } = await enqueuePull(queue, data);
    expect(await cancelTask(queue, relay, id)).toMatchObject({ status: 'cancelled' });
  });

  test('reaches it by its message alone, while its flag cannot be read', async () => {
    const queue = fixture.queue();
    const unreadable = fixture.queue('worker');
    jest.spyOn(unreadable, 'getJob').mockRejectedValue(new Error('Redis is away'));
    const running = new RunningTasks();
    fixture.worker((job, token) => running.run(job.id ?? '', (signal) => obedient(job, token, signal)));
    const subscription = await subscribeCancellations(fixture.relay('worker'), unreadable, running);
    fixture.onEnd(() => subscription.close());
    const { id } = await enqueuePull(queue, data);
    await eventually(async () => (await findTask(queue, id))?.view.status === 'running');
    await cancelTask(queue, fixture.relay(), id);
    expect((await ended(queue, id)).status).toBe('cancelled');
  });

  test('is looked for as a task begins, and when messages may have been lost, until the subscription ends', async () => {
    const queue = fixture.queue('worker');
    const relay = fixture.relay('worker');
    const running = new RunningTasks();
    const subscription = await subscribeCancellations(relay, queue, running);
    const looks = jest.spyOn(queue, 'getJob');
    const reasons = () => {
      const { length } = looks.mock.calls;
      relay.emit('recovered', { downtimeMs: 0 });
      return looks.mock.calls.slice(length);
    };
    await running.run('tsk_begins', async () => {
      expect(looks.mock.calls).toEqual([['tsk_begins']]);
      await Promise.all(looks.mock.results.map(({ value }) => value));
      await eventually(() => reasons().length === 1);
    });
    await subscription.close();
    const before = looks.mock.calls.length;
    await running.run('tsk_later', async () => expect(reasons()).toEqual([]));
    expect(looks).toHaveBeenCalledTimes(before);
  });

  test('that crosses its end does not bring its credentials back', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay();
    const { id } = await enqueuePull(queue, { ...data, sealedAuth: 'v1.sealed' });
    const crossing = fixture.queue();
    const read = crossing.getJob.bind(crossing);
    let reads = 0;
    // The task ends between being read to be cancelled and being written.
    crossing.getJob = async (of) => {
      const job = await read(of);
      reads += 1;
      if (reads === 1) {
        await workers(1, async (running) => {
          await removeCredentials(running);
          return result;
        });
        await eventually(async () => (await queue.getJobState(id)) === 'completed');
      }
      return job;
    };
    expect((await cancelTask(crossing, relay, id)).status).toBe('completed');
    expect((await queue.getJob(id))?.data).not.toHaveProperty('sealedAuth');
  });

  test('is looked for once at a time, however long Redis takes: looks do not pile up', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay('worker');
    const running = new RunningTasks();
    fixture.worker((job, token) => running.run(job.id ?? '', (signal) => obedient(job, token, signal)));
    const subscription = await subscribeCancellations(relay, fixture.queue('worker'), running);
    fixture.onEnd(() => subscription.close());
    const { id } = await enqueuePull(queue, data);
    await eventually(async () => (await findTask(queue, id))?.view.status === 'running');
    const redis = fixture.connect('request');
    const looks = async () => Number(/cmdstat_hgetall:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0);
    const looksWhenQuiet = () =>
      eventually(async () => {
        const seen = await looks();
        await sleep(20);
        return seen === (await looks()) && seen;
      });
    const before = await looksWhenQuiet();
    process.kill(fixture.server.pid(), 'SIGSTOP');
    // Each is a reason to look, as is each second that Redis is away.
    for (let reason = 0; reason < 50; reason += 1) {
      relay.emit('recovered', { downtimeMs: 0 });
      await sleep(1);
    }
    process.kill(fixture.server.pid(), 'SIGCONT');
    // One, and those of the timer since, of which there is one a second.
    expect((await looksWhenQuiet()) - before).toBeLessThan(10);
    await cancelTask(queue, fixture.relay(), id);
    expect((await ended(queue, id)).status).toBe('cancelled');
  });

  test('is refused when it is not there or has ended', async () => {
    const queue = fixture.queue();
    const relay = fixture.relay();
    await expect(cancelTask(queue, relay, 'tsk_aaaaaaaaaaaa')).rejects.toMatchObject({ code: 'not_found' });
    await expect(cancelTask(queue, relay, 'meta')).rejects.toMatchObject({ code: 'not_found' });
    const { id: deleted } = await enqueuePull(queue, { ...data, name: 'deleted' });
    const crossing = fixture.queue();
    // Somebody deletes it just after it was found.
    crossing.getJob = async (of) => {
      await queue.remove(deleted);
      return queue.getJob(of);
    };
    await expect(cancelTask(crossing, relay, deleted)).rejects.toMatchObject({ code: 'not_found' });
    await workers(1, async () => result);
    const { id } = await enqueuePull(queue, data);
    await ended(queue, id);
    await expect(cancelTask(queue, relay, id)).rejects.toMatchObject({ code: 'task_ended' });
    // A key of the queue, and no hash.
    await expect(cancelTask(queue, relay, 'completed')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('the tasks that run here', () => {
  test('are known while they run, and told of as they begin', async () => {
    const running = new RunningTasks();
    const begun: string[] = [];
    const unwatch = running.watch((id) => begun.push(id));
    const failing = running.run('one', async () => {
      expect([...running.ids]).toEqual(['one']);
      expect(begun).toEqual(['one']);
      throw new Error('broken');
    });
    await expect(failing).rejects.toThrow('broken');
    expect([...running.ids]).toEqual([]);
    unwatch();
    await running.run('other', async () => {});
    expect(begun).toEqual(['one']);
  });

  test('are stopped in every run, as one that was lost and is taken up again has two', async () => {
    const running = new RunningTasks();
    const untilStopped = (id: string) =>
      running.run(
        id,
        (signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason))),
      );
    const runs = [untilStopped('one'), untilStopped('one'), untilStopped('other')];
    running.stop('one', 'cancelled');
    running.stopAll('worker_stopping');
    expect(await Promise.all(runs)).toEqual(['cancelled', 'cancelled', 'worker_stopping']);
  });
});
