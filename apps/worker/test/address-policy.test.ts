import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import * as z from 'zod';
import { startRegistry, type TestRegistry } from '../../../test/support/registry.ts';
import { startStack, type TestStack } from './support/stack.ts';
import { layerTar } from './support/tar.ts';
import type { WorkerProcess } from './support/worker-process.ts';

let stack: TestStack;
/** An image there. */
let reference: string;
/** What a pull must not reach: it counts who comes. */
let inner: Server;
let innerUrl: string;
let visitors = 0;
/** A registry whose tokens are to be had there. */
let tokens: TestRegistry;
let worker: WorkerProcess;

beforeAll(async () => {
  inner = createServer((socket) => {
    visitors += 1;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(inner, 'listening');
  innerUrl = `http://127.0.0.1:${z.object({ port: z.number() }).parse(inner.address()).port}`;
  tokens = await startRegistry({ auth: { kind: 'bearer', realm: `${innerUrl}/token` } });
  stack = await startStack();
  const tar = await layerTar([{ name: 'bin/sh', content: 'sh', mode: 0o755 }]);
  ({ reference } = stack.registry.pushImage({ repository: 'team/app', layers: [{ tar }] }));
});
afterEach(() => worker.end('SIGTERM'));
afterAll(async () => {
  await stack.close();
  await tokens.close();
  inner.close();
});

const denied = { status: 'failed', error: { code: 'address_denied', message: expect.stringContaining('loopback') } };

describe('a worker process', () => {
  // Which settings mean this, also of where the API listens, is for operator-settings.test.ts.
  test('that is told asks no loopback address', async () => {
    worker = await stack.startWorkerProcess({ BHATTI_DENY_ADDRESSES: 'loopback' });
    expect(await stack.pull({ reference, name: 'app' })).toMatchObject(denied);
    expect(stack.registry.connections().peak).toBe(0);
  });

  test('that is not told where the API listens asks none but those allowed, not for redirects or tokens either', async () => {
    worker = await stack.startWorkerProcess({
      BHATTI_LISTEN: '',
      BHATTI_ALLOW_HOSTS: `${stack.registry.host},${tokens.host}`,
    });
    expect(await stack.pull({ reference: `${new URL(innerUrl).host}/team/app`, name: 'app' })).toMatchObject(denied);
    stack.registry.plan({ path: '/blobs/', redirect: `${innerUrl}{path}` });
    expect(await stack.pull({ reference, name: 'redirected' })).toMatchObject(denied);
    expect(await stack.pull({ reference: `${tokens.host}/team/app`, name: 'token' })).toMatchObject(denied);
    expect(tokens.requests).not.toHaveLength(0);
    expect(visitors).toBe(0);
    stack.registry.clearFaults();
    expect(await stack.pull({ reference, name: 'allowed' })).toMatchObject({ status: 'completed' });
  });
});
