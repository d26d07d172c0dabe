import { expect, test } from '@jest/globals';
import { AddressGuard } from '../address-policy.ts';
import { parseReference } from '../index.ts';
import { RegistryConfiguration } from '../registry-settings.ts';
import { failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();

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
