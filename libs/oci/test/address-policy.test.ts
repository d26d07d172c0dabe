import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import * as z from 'zod';
import { eventually } from '../../../test/support/eventually.ts';
import type { PushedImage, TestRegistry } from '../../../test/support/registry.ts';
import { AddressGuard, type AddressScope, addressScope } from '../connection/address-policy.ts';
import { Connections } from '../connection/connections.ts';
import { exchange, type ResponseHead } from '../connection/exchange.ts';
import { parseReference } from '../index.ts';
import { RegistryConfiguration } from '../registry/registry-settings.ts';
import { failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();

describe('addressScope', () => {
  test.each<[string, AddressScope]>([
    ['127.0.0.1', 'loopback'],
    ['127.255.0.9', 'loopback'],
    ['0.0.0.0', 'loopback'],
    ['::1', 'loopback'],
    ['::', 'loopback'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['::ffff:7f00:1', 'loopback'],
    ['0:0:0:0:0:ffff:7f00:0001', 'loopback'],
    ['64:ff9b::127.0.0.1', 'loopback'],
    ['2002:7f00:1::', 'loopback'],
    ['169.254.169.254', 'link-local'],
    ['::ffff:169.254.169.254', 'link-local'],
    ['fe80::1', 'link-local'],
    ['fe80::1%eth0', 'link-local'],
    ['fd00:ec2::254', 'link-local'],
    ['100.100.100.200', 'link-local'],
    ['168.63.129.16', 'link-local'],
    ['10.1.2.3', 'private'],
    ['172.16.0.1', 'private'],
    ['172.31.255.255', 'private'],
    ['192.168.1.1', 'private'],
    ['100.64.0.1', 'private'],
    ['224.0.0.1', 'private'],
    ['255.255.255.255', 'private'],
    ['fd12:3456::1', 'private'],
    ['ff02::1', 'private'],
    ['64:ff9b::10.0.0.1', 'private'],
    ['172.32.0.1', 'public'],
    ['1.1.1.1', 'public'],
    ['::ffff:8.8.8.8', 'public'],
    ['2606:4700::1111', 'public'],
    ['64:ff9b::8.8.8.8', 'public'],
  ])('%s is %s', (address, scope) => {
    expect(addressScope(address)).toBe(scope);
  });

  test('an IPv4 address means the same, however it is written', () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(addressScope(`::ffff:${address}`)).toBe(addressScope(address));
        expect(addressScope(`64:ff9b::${address}`)).toBe(addressScope(address));
      }),
    );
  });

  test('every IPv6 address has a scope', () => {
    fc.assert(fc.property(fc.ipV6(), (address) => expect(addressScope(address)).toEqual(expect.any(String))));
  });
});

/** One request on a connection of its own, below the part that knows localhost by its name. */
async function ask(guard: AddressGuard, address: string): Promise<ResponseHead> {
  const connections = new Connections({
    connectionsPerHost: 1,
    connectTimeoutMs: 60_000,
    configuration: new RegistryConfiguration({}),
    guard,
    proxies: {},
  });
  const url = new URL(address);
  try {
    return await exchange({
      dispatcher: connections.for(url, 'metadata'),
      url,
      method: 'GET',
      headers: {},
      stallTimeoutMs: 10_000,
      receive: () => () => undefined,
    });
  } finally {
    await connections.close();
  }
}

describe('the policy of a client', () => {
  const start = async (): Promise<{ registry: TestRegistry; image: PushedImage }> => {
    const registry = await fixture.registry();
    return { registry, image: registry.pushImage({ repository: 'team/app', layers: [{ tar: random(10) }] }) };
  };

  test.each([
    '127.0.0.1',
    'localhost',
    'a.localhost',
    '[::1]',
    '[::ffff:7f00:1]',
    '0.0.0.0',
    '2130706433',
    '0x7f.1',
    '127.1',
  ])('denies loopback: %s', async (host) => {
    const { registry } = await start();
    const client = fixture.client({ addressPolicy: { deny: ['loopback'] } });
    const error = await failure(client.resolve(parseReference(`${host}:${registry.port}/team/app`)));
    expect(error).toMatchObject({ code: 'address_denied', retryable: false });
    expect(error.message).toContain('may not be asked: it is at a loopback address');
    expect(registry.connections().peak).toBe(0);
  });

  test('is applied to what a name resolves to, when it is connected to', async () => {
    const { registry } = await start();
    const connect = (deny: readonly AddressScope[]) =>
      ask(new AddressGuard({ deny }), `http://localhost:${registry.port}/v2/`);
    const error = await failure(connect(['loopback']));
    expect(error).toMatchObject({ code: 'address_denied', host: 'localhost' });
    expect(error.message).toContain('it is at a loopback address');
    expect(registry.connections().peak).toBe(0);
    expect(await connect(['private', 'public', 'link-local'])).toMatchObject({ status: 200 });
  });

  test('is applied to an address, of which no socket asks what it resolves to', async () => {
    const { registry } = await start();
    for (const url of [registry.url, `http://[::ffff:7f00:1]:${registry.port}`]) {
      const error = await failure(ask(new AddressGuard({ deny: ['loopback'] }), `${url}/v2/`));
      expect(error).toMatchObject({ code: 'address_denied', host: new URL(url).host });
    }
    expect(registry.connections().peak).toBe(0);
    expect(await ask(new AddressGuard({ deny: ['private'] }), `${registry.url}/v2/`)).toMatchObject({ status: 200 });
  });

  test('a name that resolves to another address each time is looked at each time, and connected to where it was looked at', async () => {
    const { registry } = await start();
    // Loopback stands for an address that may be asked, 10.0.0.1 for one that may not.
    const answers = [['127.0.0.1'], ['10.0.0.1'], ['10.0.0.1', '127.0.0.1'], ['10.0.0.1', '169.254.169.254']];
    let asked = 0;
    const guard = new AddressGuard({ deny: ['private', 'link-local'] }, (_name, _options, callback) => {
      const answer = answers[asked] ?? [];
      asked += 1;
      callback(
        null,
        answer.map((address) => ({ address, family: 4 })),
      );
    });
    const connect = () => ask(guard, `http://rebinding.example:${registry.port}/v2/`);
    expect(await connect()).toMatchObject({ status: 200 });
    // One look for one connection: there is no second answer that the socket could go by.
    expect(asked).toBe(1);
    expect(await failure(connect())).toMatchObject({ code: 'address_denied', host: 'rebinding.example' });
    expect(await connect()).toMatchObject({ status: 200 });
    expect(await failure(connect())).toMatchObject({ code: 'address_denied', host: 'rebinding.example' });
    expect(asked).toBe(answers.length);
    expect(registry.requests).toHaveLength(2);
  });

  test('leaves the hosts alone that are allowed by name', async () => {
    const { registry, image } = await start();
    const client = fixture.client({ addressPolicy: { deny: ['loopback'], allowHosts: [registry.host] } });
    expect((await client.resolve(parseReference(image.reference))).manifestDigest).toBe(image.digest);
  });

  test('holds for redirects', async () => {
    const { registry, image } = await start();
    const inner = await fixture.registry();
    registry.plan({ path: '/blobs/', redirect: `${inner.url}{path}` });
    const client = fixture.client({ addressPolicy: { deny: ['loopback'], allowHosts: [registry.host] } });
    const error = await failure(client.resolve(parseReference(image.reference)));
    expect(error).toMatchObject({ code: 'address_denied', host: inner.host });
    expect(inner.connections().peak).toBe(0);
  });

  test('holds for token realms', async () => {
    const inner = await fixture.registry({ auth: { kind: 'bearer' } });
    const registry = await fixture.registry({ auth: { kind: 'bearer', realm: `${inner.url}/token` } });
    const image = registry.pushImage({ repository: 'team/app', layers: [] });
    const client = fixture.client({ addressPolicy: { deny: ['loopback'], allowHosts: [registry.host] } });
    expect(await failure(client.resolve(parseReference(image.reference)))).toMatchObject({
      code: 'address_denied',
      host: inner.host,
    });
    expect(inner.requests).toEqual([]);
  });

  test('denies nothing unless told to', async () => {
    const { image } = await start();
    expect((await fixture.client().resolve(parseReference(image.reference))).manifestDigest).toBe(image.digest);
  });
});

/** A server that takes no connection until it is told to: the kernel holds two for it, and lets others try again each second. */
const RELUCTANT_SERVER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const answer = 'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n';
  const server = require('node:net').createServer((socket) => socket.on('error', () => {}).end(answer));
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    parentPort.postMessage(server.address().port);
    Atomics.wait(workerData, 0, 0);
  });
`;

test('an address that takes over a second to connect to is waited for, though the name has others', async () => {
  const go = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(RELUCTANT_SERVER, { eval: true, workerData: go });
  const waiting = [];
  try {
    const port = z.number().parse((await once(worker, 'message'))[0]);
    for (let held = 0; held < 2; held += 1) {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      waiting.push(socket);
      await once(socket, 'connect');
    }
    const guard = new AddressGuard({ deny: ['private'] }, (_name, _options, callback) => {
      callback(null, [
        { address: '127.0.0.1', family: 4 },
        // Nobody listens there.
        { address: '::1', family: 6 },
      ]);
    });
    const asked = ask(guard, `http://far-away.example:${port}/`);
    // Its first attempt has been turned away: state 2, SYN_SENT.
    const attempt = new RegExp(`:${port.toString(16).padStart(4, '0')} 02 `, 'i');
    await Promise.race([asked, eventually(async () => attempt.test(await readFile('/proc/net/tcp', 'utf8')))]);
    Atomics.store(go, 0, 1);
    Atomics.notify(go, 0);
    expect(await asked).toMatchObject({ status: 200 });
  } finally {
    for (const socket of waiting) socket.destroy();
    Atomics.store(go, 0, 1);
    Atomics.notify(go, 0);
    await worker.terminate();
  }
});
