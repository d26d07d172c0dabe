import { getEventListeners, once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { RequestEnd } from '../request/request-end.ts';

let server: ReturnType<typeof createServer>;
let stop: AbortController;

beforeEach(async () => {
  stop = new AbortController();
  server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  server.close();
});

/** The response to a request whose client hangs up when the test says so. */
async function request(): Promise<{ response: ServerResponse; leave: () => Promise<void> }> {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port');
  const socket = connect(address.port, '127.0.0.1');
  const requested = new Promise<ServerResponse>((resolve) =>
    server.once('request', (_, response) => resolve(response)),
  );
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const response = await requested;
  return {
    response,
    leave: async () => {
      socket.destroy();
      if (!response.closed) await once(response, 'close');
    },
  };
}

test('a client that leaves ends its request, and nothing of it stays at the server', async () => {
  const { response, leave } = await request();
  const { signal } = new RequestEnd(response, stop.signal);
  expect(signal.aborted).toBe(false);
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(1);
  await leave();
  expect(signal.aborted).toBe(true);
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(0);
});

test('one who left before it was looked at, too', async () => {
  const { response, leave } = await request();
  await leave();
  const { signal } = new RequestEnd(response, stop.signal);
  expect(signal.aborted).toBe(true);
  expect(getEventListeners(stop.signal, 'abort')).toHaveLength(0);
});
