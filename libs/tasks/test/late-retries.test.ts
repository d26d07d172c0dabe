import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { enqueuePull, jobError, queueKey, takeUpLateRetries } from '../index.ts';
import { data, QueueFixture } from './support/fixture.ts';

let fixture: QueueFixture;
beforeAll(async () => {
  fixture = await QueueFixture.start();
});
afterEach(() => fixture.reset());
afterAll(() => fixture.stop());

const realNow = Date.now;

test('a task that a worker put off by a clock which was an hour ahead is taken up; others keep their pause', async () => {
  const queue = fixture.queue();
  const attempts: string[] = [];
  const worker = fixture.worker(async (job) => {
    attempts.push(job.data.name);
    throw jobError({ code: 'registry_error', message: '503', retryable: true });
  });
  const ahead = await enqueuePull(queue, { ...data, name: 'ahead' }, { priority: 1 });
  const isDelayed = (id: string) => async () => (await queue.getJobState(id)) === 'delayed';
  try {
    // As of a host whose clock is wrong, or that of all before it is set right.
    Date.now = () => realNow() + 3600_000;
    await eventually(isDelayed(ahead.id));
  } finally {
    Date.now = realNow;
  }
  const right = await enqueuePull(queue, { ...data, name: 'right' }, { priority: 1 });
  try {
    // Right enough: it has its pause. Of a second or two, which a busy machine may need for the rest, it would be over.
    Date.now = () => realNow() + 30_000;
    await eventually(isDelayed(right.id));
  } finally {
    Date.now = realNow;
  }
  await worker.close();
  // Somebody has deleted the job of one; and two workers look at the same time.
  await fixture.connect('request').zadd(queueKey('delayed'), Number.MAX_SAFE_INTEGER, 'tsk_gone');
  await Promise.all([takeUpLateRetries(queue), takeUpLateRetries(queue)]);
  expect(await queue.getJobState(ahead.id)).toBe('prioritized');
  expect(await queue.getJobState(right.id)).toBe('delayed');
  expect(attempts).toEqual(['ahead', 'right']);
});
