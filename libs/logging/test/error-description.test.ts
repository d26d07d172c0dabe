import { expect, test } from '@jest/globals';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { startRedis } from '../../../test/support/redis.ts';
import { describeError } from '../error-description.ts';

test('leaves out the fields that libraries put beside an error', () => {
  const error = Object.assign(new Error('outer', { cause: new Error('inner') }), { body: 'user:token', command: {} });
  const text = JSON.stringify(describeError(error));
  expect(text).toContain('outer');
  expect(text).toContain('inner');
  expect(text).not.toContain('user:token');
});

test('ends for a cause that is its own', () => {
  const error = new Error('loop');
  error.cause = error;
  expect(JSON.stringify(describeError(error))).toContain('loop');
});

test('what BullMQ throws is told in its words', async () => {
  const redis = await startRedis();
  const connection = new Redis(redis.url, { maxRetriesPerRequest: null });
  const queue = new Queue('q', { connection });
  try {
    const job = await queue.add('gone', {});
    await job.remove();
    const thrown: unknown = await job.updateProgress({}).catch((error: unknown) => error);
    expect(describeError(thrown)).toMatchObject({
      type: 'Error',
      message: `Missing key for job ${job.id}. updateProgress`,
      code: -1,
    });
  } finally {
    await queue.close();
    connection.disconnect();
    await redis.stop();
  }
});
