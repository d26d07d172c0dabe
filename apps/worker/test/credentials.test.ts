import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { queueKey, sealedAuthOf, TaskClaims } from '@bhatti/tasks';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { Outcomes } from '../job/outcome.ts';
import { WorkerDeaths } from '../job/worker-deaths.ts';
import type { RunningWorker } from '../worker.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';

const password = randomBytes(12).toString('hex');
const wrong = randomBytes(12).toString('hex');

let stack: TestStack;
let reference: string;
let worker: RunningWorker;
/** What worker processes wrote. */
let processes = '';

beforeAll(async () => {
  stack = await startStack({ auth: { kind: 'basic', username: 'robot', password } });
  const tar = await layerTar([{ name: 'f', content: 'private' }]);
  reference = stack.registry.pushImage({ repository: 'private/image', layers: [{ tar }] }).reference;
});
afterAll(() => stack.close());

/** Everything that was ever written to Redis. */
async function redisHistory(): Promise<string> {
  const folder = join(stack.redis.directory, 'appendonlydir');
  const files = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'latin1')));
  return files.join('');
}

/** How the task ended was in Redis before its data were written without the credentials, and is there no more. */
async function expectRemembered(id: string, name: string): Promise<void> {
  const history = await redisHistory();
  const remembered = history.indexOf(`:outcome:${id}`);
  expect(remembered).toBeGreaterThan(0);
  expect(remembered).toBeLessThan(history.lastIndexOf(`"name":"${name}"`));
  await eventually(async () => (await stack.connection.keys('*:outcome:*')).length === 0);
}

describe('the credentials of a task', () => {
  test.each([
    {
      who: 'BullMQ',
      field: { defa: 'job stalled more than allowable limit', stc: 6 },
      message: 'died or hung 6 times',
    },
    {
      who: 'a worker',
      field: { stc: 5 },
      message: '5 worker processes died or hung while they worked on this task (one:1,',
    },
  ])(
    'that $who ended, because workers died again and again, are gone, and what it had fetched',
    async ({ field, message }) => {
      const blob = `sha256:${'0'.repeat(64)}`;
      const empty = `sha256:${'1'.repeat(64)}`;
      const id = await stack.enqueue({ reference, name: 'poisoned', auth: `robot:${password}` });
      await new TaskClaims(stack.connection, 'partial', async () => true).claim(id, [blob, empty]);
      await writeFile(stack.store.partials.path(blob), 'fetched');
      await writeFile(stack.store.partials.path(empty), '');
      const deaths = new WorkerDeaths(stack.connection);
      for (const dead of ['one:1', 'two:2']) await deaths.begin(id, dead);
      await (await deaths.begin(id, 'ended:3'))();
      // What BullMQ does to a job that stalls.
      await stack.connection.hset(queueKey(id), field);
      const worker = await stack.startWorker();
      const { status, error } = await stack.ended(id);
      expect([status, error?.code]).toEqual(['failed', 'worker_crashed']);
      expect(error?.message).toContain(message);
      expect(error?.message).not.toContain('ended:3');
      await worker.close();
      expect((await stack.job(id)).data).not.toHaveProperty('sealedAuth');
      expect(await stack.leftovers()).toEqual([]);
      expect(await stack.connection.keys('*partial*')).toEqual([]);
      expect(await deaths.of(id)).toEqual([]);
    },
  );

  test('that has ended in the hands of a worker that died are not needed to end it again', async () => {
    const id = await stack.enqueue({ reference, name: 'ended', auth: `robot:${wrong}` });
    const outcomes = new Outcomes(stack.connection);
    await outcomes.remember(id, { kind: 'failed', failure: { code: 'manifest_unknown', message: 'not there' } });
    const other = await stack.enqueue({ reference, name: 'done', auth: `robot:${wrong}` });
    const result = { image: 'done', digest: `sha256:${'0'.repeat(64)}`, sizeBytes: 1, steps: [], warnings: [] };
    await outcomes.remember(other, { kind: 'completed', result });
    worker = await stack.startWorker();
    expect(await stack.ended(id)).toMatchObject({
      status: 'failed',
      error: { code: 'manifest_unknown', message: 'not there' },
    });
    expect(await stack.ended(other)).toMatchObject({ status: 'completed', result });
    expect(stack.registry.requests).toEqual([]);
  });

  test('are used, and gone when it ends', async () => {
    const id = await stack.enqueue({ reference, name: 'private', auth: `robot:${password}` });
    expect(sealedAuthOf((await stack.job(id)).data)).toMatch(/^v1\./);
    expect(await stack.ended(id)).toMatchObject({ status: 'completed' });
    expect((await stack.job(id)).data).not.toHaveProperty('sealedAuth');
    await expectRemembered(id, 'private');
  });

  test('that are refused fail it, and are gone, too', async () => {
    const id = await stack.enqueue({ reference, name: 'refused', auth: `robot:${wrong}` });
    expect(await stack.ended(id)).toMatchObject({ status: 'failed', error: { code: 'unauthorized' } });
    expect((await stack.job(id)).data).not.toHaveProperty('sealedAuth');
    await expectRemembered(id, 'refused');
  });

  test('that were sealed with a key which is lost fail it, say why, and stay sealed; other tasks are not concerned', async () => {
    const pulled = stack.registry.requests.length;
    await worker.close();
    const id = await stack.enqueue({ reference, name: 'key-lost', auth: `robot:${password}` });
    const { secretKeyFile } = stack.store.paths;
    await rename(secretKeyFile, `${secretKeyFile}.away`);
    const other = await stack.startWorkerProcess();
    const ended = await stack.ended(id);
    expect(ended).toMatchObject({ status: 'failed', error: { code: 'secret_key_mismatch' } });
    expect(ended.error?.message).toContain('start them again, and ask for the image again');
    const { attemptsMade, stalledCounter, data } = await stack.job(id);
    expect([attemptsMade, stalledCounter, data]).toEqual([1, 0, expect.not.objectContaining({ sealedAuth: /./ })]);
    expect(stack.registry.requests).toHaveLength(pulled);
    // The process is none the worse for it.
    expect(await stack.pull({ reference, name: 'without' })).toMatchObject({ error: { code: 'unauthorized' } });
    await other.end('SIGTERM');
    expect(other.output()).toContain('secret_key_mismatch');
    processes += other.output();
    await rename(`${secretKeyFile}.away`, secretKeyFile);
  });

  test('are not sealed or opened with what is no key: the process says so and ends', async () => {
    const starting = stack.startWorkerProcess({ BHATTI_SECRET_KEY: password });
    await expect(starting).rejects.toThrow(/bhatti worker: BHATTI_SECRET_KEY does not hold a key, 32 bytes as/);
    await expect(starting).rejects.not.toThrow(password);
  });

  test('are in no log, and never were in Redis but sealed', async () => {
    const places = stack.log() + processes + (await redisHistory());
    expect(places).toContain('unauthorized');
    expect(places).toContain('sealedAuth');
    for (const secret of [password, wrong]) {
      expect(places).not.toContain(secret);
      expect(places).not.toContain(Buffer.from(`robot:${secret}`).toString('base64').slice(0, 40));
    }
  });
});
