import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { expect, test } from '@jest/globals';
import * as z from 'zod';
import { refusalInGreeting } from '../redis/redis-greeting.ts';

/** What a server that greets like this is said to refuse. It never ends a connection itself. */
async function refusalBy(greeting: string): Promise<string | undefined> {
  const closed: Promise<unknown>[] = [];
  const server = createServer((socket: Socket) => {
    closed.push(once(socket, 'close'));
    socket.resume();
    if (greeting !== '') socket.write(greeting);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = z.object({ port: z.int() }).parse(server.address());
  const refusal = await refusalInGreeting({ host: '127.0.0.1', port });
  // Whoever asks again and again would otherwise take all the connections that the server may have.
  expect(closed).toHaveLength(1);
  await Promise.all(closed);
  server.close();
  return refusal;
}

test('the first sentence of a refusal is told, with what to do', async () => {
  const denied =
    '-DENIED Redis is running in protected mode because no password is set. In this mode, and so on. If you want…\r\n';
  expect(await refusalBy(denied)).toBe(
    'Redis refuses us: DENIED Redis is running in protected mode because no password is set; ' +
      'give it a password (requirepass), and write that into REDIS_URL',
  );
  expect(await refusalBy('-ERR something else\r\n')).toBe('Redis refuses us: ERR something else');
});

test('a server that greets otherwise, or says nothing for a second, refuses nothing, and has the connection back', async () => {
  expect(await refusalBy('+OK\r\n')).toBeUndefined();
  expect(await refusalBy('')).toBeUndefined();
});

test('where nobody is, or TLS hides what is said, there is no refusal', async () => {
  expect(await refusalInGreeting({ path: '/nonexistent/redis.sock' })).toBeUndefined();
  expect(await refusalInGreeting({})).toBeUndefined();
  const server = createServer((socket) => socket.end('-ERR max number of clients reached\r\n')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = z.object({ port: z.int() }).parse(server.address());
  expect(await refusalInGreeting({ host: '127.0.0.1', port, tls: {} })).toBeUndefined();
  expect(await refusalInGreeting({ host: '127.0.0.1', port })).toMatch(/raise its maxclients/);
  server.close();
});

test('a server that ends the connection without a word refuses nothing that could be told', async () => {
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = z.object({ port: z.int() }).parse(server.address());
  expect(await refusalInGreeting({ host: '127.0.0.1', port })).toBeUndefined();
  server.close();
});
