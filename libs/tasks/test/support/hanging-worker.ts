/**
 * A worker process for tests that kill it: says `started <id>` on its standard output, and then works for ever. How often
 * it looks for abandoned jobs can be set, so that a test need not wait for the real time.
 */
import { Worker } from 'bullmq';
import { connectRedis, QUEUE_NAME, workerOptions } from '../../index.ts';

const { TEST_REDIS = '', TEST_STALLED_INTERVAL } = process.env;
const connection = connectRedis(TEST_REDIS, { use: 'worker' });

new Worker(
  QUEUE_NAME,
  async (job, _token, _signal) => {
    process.stdout.write(`started ${job.id}\n`);
    await new Promise(() => {});
  },
  { ...workerOptions({ connection, concurrency: 1 }), stalledInterval: Number(TEST_STALLED_INTERVAL) },
);
