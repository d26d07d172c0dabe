import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { expect, test } from '@jest/globals';
import * as z from 'zod';
import { eventually } from '../../../test/support/eventually.ts';
import { AddressGuard } from '../connection/address-policy.ts';
import { Connections } from '../connection/connections.ts';
import { parseReference } from '../index.ts';
import { RegistryOrigins } from '../registry/registry-origin.ts';
import { RegistryConfiguration } from '../registry/registry-settings.ts';
import { failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();

function listens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}

test.each([
  ['registry.example', ['registry.example', 'registry.example:443', 'registry.example:80']],
  ['registry.example:443', ['registry.example', 'registry.example:443']],
  ['registry.example:80', ['registry.example:80']],
  ['registry.example:5000', ['registry.example:5000']],
  ['docker.io', ['registry-1.docker.io', 'docker.io']],
])('what is stated of %s is stated of %j', (stated, hosts) => {
  const mirrors = ['mirror.example'];
  const configuration = new RegistryConfiguration({
    registries: { [stated]: { mirrors } },
    insecureRegistries: [stated],
  });
  const asked = [
    ...['registry.example', 'registry.example:443', 'registry.example:80', 'registry.example:5000'],
    ...['registry-1.docker.io', 'docker.io', 'other.example'],
  ];
  expect(asked.filter((host) => configuration.isInsecure(host))).toEqual(hosts);
  expect(asked.filter((domain) => configuration.mirrors({ domain, path: 'a' }).length > 0)).toEqual(hosts);
});

test.each([
  ['127.0.0.1', 'https:', true],
  ['127.0.0.1', 'http:', false],
  ['127.0.0.1:443', 'https:', true],
  ['127.0.0.1:80', 'http:', false],
])('with 127.0.0.1:443 allowed, %s by %s', (host, protocol, isAllowed) => {
  const guard = new AddressGuard({ deny: ['loopback'], allowHosts: ['127.0.0.1:443'] });
  expect(guard.watches(host, protocol)).toBe(!isAllowed);
});

test('a registry at port 80 that is configured as insecure is asked over plain HTTP', async () => {
  const registry = await fixture.registry();
  const { reference } = registry.pushImage({ repository: 'team/app', layers: [{ tar: random(10) }] });
  // Documentation addresses (RFC 5737) are at nobody's.
  registry.plan({ path: '/manifests/', redirect: 'http://192.0.2.1:80{path}' });
  const resolve = (insecureRegistries: string[]) =>
    failure(fixture.client({ insecureRegistries, connectTimeoutMs: 300 }).resolve(parseReference(reference)));
  expect((await resolve(['192.0.2.1:80'])).code).toBe('registry_unreachable');
  expect((await resolve(['192.0.2.1:8080'])).message).toContain('would have to be asked over plain HTTP');
});

/** Origins as a client finds them, and what closes their connections. */
function originsWithin(connectTimeoutMs: number): { origins: RegistryOrigins; connections: Connections } {
  const guard = new AddressGuard(undefined);
  const configuration = new RegistryConfiguration({ insecureRegistries: ['registry.example:443'] });
  const connections = new Connections({ connectionsPerHost: 1, connectTimeoutMs, configuration, guard, proxies: {} });
  const origins = new RegistryOrigins({ connections, probeTimeoutMs: connectTimeoutMs, configuration, guard });
  return { origins, connections };
}

test('a registry without TLS that is named without a port is at port 80', async () => {
  const { origins, connections } = originsWithin(10_000);
  try {
    // Where something has port 443 of all addresses of this machine, it is asked.
    if (!(await listens('127.77.0.1', 443)))
      expect((await origins.of('127.77.0.1', undefined)).href).toBe('http://127.77.0.1/');
    expect(await failure(origins.of('127.77.0.1:1', undefined))).toMatchObject({ code: 'registry_unreachable' });
    // Not asked: plain HTTP at port 80 would be refused, however it answered at 443.
    expect((await origins.of('registry.example', undefined)).href).toBe('https://registry.example/');
  } finally {
    await connections.close();
  }
});

test('one that keeps silent is asked over plain HTTP, and each time anew whether it speaks TLS', async () => {
  const { origins, connections } = originsWithin(50);
  let asked = 0;
  const server = createServer((socket) => {
    asked += 1;
    socket.on('error', () => undefined);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${z.object({ port: z.int() }).parse(server.address()).port}`;
  try {
    for (const times of [1, 2]) {
      expect((await origins.of(host, undefined)).href).toBe(`http://${host}/`);
      await eventually(() => asked >= times);
    }
  } finally {
    await connections.close();
    server.close();
  }
});
