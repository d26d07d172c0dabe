import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { startRedis } from '../../../test/support/redis.ts';
import { connectRedis } from '../index.ts';

test('a command under way fails when its connection, lost meanwhile, is given up before it is made again', async () => {
  const redis = await startRedis();
  const connection = connectRedis(redis.url, { use: 'worker' });
  // Accepts connections, and answers nothing: a Redis that hangs, or is busy.
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket.on('error', () => undefined)));
  try {
    await connection.ping();
    const blocked = connection.blpop('nothing', 0).catch(String);
    await redis.kill();
    await rm(redis.socketPath, { force: true });
    silent.listen(redis.socketPath);
    await once(silent, 'connection');
    await eventually(() => connection.status === 'connect');

    connection.disconnect();
    expect(await blocked).toBe('Error: Connection is closed.');
  } finally {
    connection.disconnect();
    silent.close();
    for (const socket of sockets) socket.destroy();
    await redis.stop();
  }
});
