import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KEY_PREFIX, queueKey } from '@bhatti/tasks';
import { expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startRedis } from '../../../test/support/redis.ts';
import { describeFailure } from '../job/failure.ts';
import { startStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';
import { startWorkerProcess } from './support/worker-process.ts';

test('a worker on a Redis whose policy is allkeys-lru warns', async () => {
  const redis = await startRedis({ settings: ['--maxmemory-policy', 'allkeys-lru'] });
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-policy-'));
  try {
    const worker = await startWorkerProcess({ BHATTI_DATA_DIR: directory, REDIS_URL: redis.url });
    expect(await worker.end('SIGTERM')).toBe(0);
    expect(worker.output()).toContain('its maxmemory-policy is allkeys-lru, but must be noeviction');
  } finally {
    await redis.stop();
    await rm(directory, { recursive: true, force: true });
  }
});

test('a task that fails is failed for its own reason, whatever Redis refuses then; and that is told by name', async () => {
  const stack = await startStack();
  try {
    const id = await stack.enqueue({ reference: `${stack.registry.host}/library/none:1`, name: 'none' });
    // What is to be cleared in the end cannot be read.
    await stack.connection.set(`${KEY_PREFIX}:task-claims:partial:${id}`, 'no set');
    await stack.startWorker();
    expect((await stack.ended(id)).error).toMatchObject({ code: 'manifest_unknown' });

    await stack.connection.config('SET', 'maxmemory', '1');
    const refused = await stack.connection.multi().set('a', 'b').exec().catch(describeFailure);
    await stack.connection.config('SET', 'maxmemory', '0');
    expect(refused).toMatchObject({
      code: 'redis_unavailable',
      message: expect.stringContaining('OOM command not allowed'),
    });
  } finally {
    await stack.close();
  }
});

test.each([
  ['whose memory is full', 'maxmemory', 'OOM'],
  ['that has lost its replicas', 'min-replicas-to-write', 'NOREPLICAS'],
])(
  'tasks wait for a Redis %s, those that are not begun, too; none fails, nor uses up an attempt',
  async (_, setting, word) => {
    const stack = await startStack();
    const { connection, registry } = stack;
    let send = () => {};
    const until = new Promise<void>((resolve) => {
      send = resolve;
    });
    try {
      const ids: string[] = [];
      for (const repository of ['library/a', 'library/b', 'library/c']) {
        const tar = await layerTar([{ name: 'file', content: repository }]);
        const { reference, layers } = registry.pushImage({ repository, layers: [{ tar }] });
        registry.plan({ path: layers[0]?.digest ?? '', until });
        ids.push(await stack.enqueue({ reference, name: repository.slice(-1) }));
      }
      await stack.startWorker({ concurrency: 1 });
      await eventually(() => stack.blobsFetched().length > 0);
      await connection.config('SET', setting, '1');
      send();
      await eventually(() =>
        stack.log().includes(`the task waits for Redis to accept its commands: Redis refused a command: ${word}`),
      );
      expect(await connection.llen(queueKey('wait'))).toBe(2);
      await connection.config('SET', setting, '0');
      for (const id of ids) {
        expect((await stack.ended(id)).status).toBe('completed');
        expect((await stack.job(id)).attemptsMade).toBe(1);
      }
      const [first = ''] = ids;
      const { logs } = await stack.queue.getJobLogs(first);
      expect(logs.join('\n')).toMatch(/attempt 1 of 3[\s\S]*goes on: Redis accepts commands again[\s\S]*completed/);
    } finally {
      await stack.close();
    }
  },
);

test('what Redis refuses again and again is told once; that it is gone, and back, each time', async () => {
  const stack = await startStack();
  const { connection, redis } = stack;
  const told = (text: string) => stack.log().split(text).length - 1;
  try {
    await redis.kill();
    const starting = stack.startWorker();
    await eventually(() => told('"code":"ECONNREFUSED"') >= 1);
    await redis.start();
    await starting;
    expect([told('connected to Redis'), told('connected to Redis again')]).toEqual([1, 0]);
    // Its policy is noeviction.
    expect(told('maxmemory-policy')).toBe(0);
    // As when its disk is full (MISCONF): the worker, which waits for tasks with this command, asks again at once.
    await connection.acl('SETUSER', 'default', '-bzpopmin');
    await connection.zadd(queueKey('marker'), 0, '0');
    await eventually(async () =>
      /cmdstat_bzpopmin:.*rejected_calls=(\d{2}|[5-9])/.test(await connection.info('commandstats')),
    );
    expect(told('NOPERM this user has no permissions to run the \'bzpopmin\' command","stack')).toBe(1);

    await connection.acl('SETUSER', 'default', '+bzpopmin');
    const tar = await layerTar([{ name: 'big', content: randomBytes(100_000) }]);
    const {
      reference,
      layers: [layer],
    } = stack.registry.pushImage({ repository: 'library/slow', layers: [{ tar }] });
    let send = () => {};
    const until = new Promise<void>((resolve) => {
      send = resolve;
    });
    stack.registry.plan({ path: layer?.digest ?? '', until, bytesPerSecond: 40_000 });
    const id = await stack.enqueue({ reference, name: 'slow' });
    await eventually(() => stack.blobsFetched().includes(layer?.digest ?? ''));
    await connection.config('SET', 'maxmemory', '1');
    send();
    await eventually(() => told('the task waits for Redis to accept its commands') >= 1);
    expect(told('cannot report progress')).toBe(1);
    await connection.config('SET', 'maxmemory', '0');
    expect((await stack.ended(id)).status).toBe('completed');

    for (const time of [1, 2]) {
      // The worker waits on its other connection, too, which tells no more of the time before.
      await eventually(async () => / flags=b.* cmd=bzpopmin /.test(String(await connection.client('LIST'))));
      const before = told('"code":"ECONNREFUSED"');
      await redis.kill();
      await eventually(() => told('"code":"ECONNREFUSED"') > before);
      await redis.start();
      await eventually(() => told('connected to Redis again') >= time);
      expect(told('connected to Redis again')).toBe(time);
    }
  } finally {
    await stack.close();
  }
});
