import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { PushedImage, TestRegistry } from '../../../test/support/registry.ts';
import { createRegistryClient, OciError, parseReference } from '../index.ts';
import { makeCertificates, type TestCertificates } from './support/certificate.ts';
import { expectContents, failure, random, useFixture } from './support/fixture.ts';
import { startProxy, type TestProxy, type TestProxyOptions } from './support/proxy.ts';
import { startSocksProxy } from './support/socks-proxy.ts';

const fixture = useFixture();
let certificates: TestCertificates;

beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-tls-'));
  certificates = await makeCertificates(directory);
  await rm(directory, { recursive: true });
});

function push(registry: TestRegistry): PushedImage {
  return registry.pushImage({ repository: 'team/app', layers: [{ tar: random(1000) }] });
}

describe('connections', () => {
  test('are kept and used again', async () => {
    const registry = await fixture.registry();
    const client = fixture.client();
    const reference = parseReference(push(registry).reference);
    for (let run = 0; run < 5; run += 1) await client.resolve(reference);
    expect(registry.requests).toHaveLength(10);
    expect(registry.connections().peak).toBeLessThanOrEqual(2);
  });

  test('are capped for each host, over all downloads of a client', async () => {
    const registry = await fixture.registry();
    const client = fixture.client({ connectionsPerHost: 3 });
    const directory = await fixture.directory();
    const reference = parseReference(`${registry.host}/team/app`);
    const blobs = Array.from({ length: 12 }, () => random(200_000));
    await client.resolve(parseReference(push(registry).reference));
    const before = registry.connections().open;
    await Promise.all(
      blobs.map((blob, position) => client.download(reference, registry.putBlob(blob), join(directory, `${position}`))),
    );
    expect(registry.connections().peak - before).toBe(3);
    for (const [position, blob] of blobs.entries()) await expectContents(join(directory, `${position}`), blob);
  });

  test('are gone when the client is closed', async () => {
    const registry = await fixture.registry();
    const client = createRegistryClient();
    await client.resolve(parseReference(push(registry).reference));
    expect(registry.connections().open).toBeGreaterThan(0);
    await client.close();
    while (registry.connections().open > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  test('go to IPv6 hosts', async () => {
    const registry = await fixture.registry({ address: '::1' });
    const { digest, reference } = push(registry);
    expect(reference).toMatch(/^\[::1\]:/);
    expect((await fixture.client().resolve(parseReference(reference))).manifestDigest).toBe(digest);
  });

  test('to a name try each of its addresses', async () => {
    const registry = await fixture.registry();
    const { digest } = push(registry);
    const reference = parseReference(`localhost:${registry.port}/team/app`);
    expect((await fixture.client().resolve(reference)).manifestDigest).toBe(digest);
  });
});

describe('TLS', () => {
  const start = async () => {
    const registry = await fixture.registry({ tls: { key: certificates.key, cert: certificates.cert } });
    const { reference, digest } = push(registry);
    return { registry, digest, reference: parseReference(reference) };
  };

  test('a certificate that nobody vouches for is refused, also on loopback: no plain HTTP instead', async () => {
    const { registry, reference } = await start();
    const error = await failure(fixture.client().resolve(reference));
    expect(error).toMatchObject({ code: 'registry_unreachable', retryable: false, host: registry.host });
    expect(error.message).toContain(`cannot trust ${registry.host}: its TLS certificate was not accepted`);
    expect(registry.requests).toEqual([]);
  });

  test('an authority of one’s own, for all hosts or for this one', async () => {
    const { registry, reference, digest } = await start();
    const authorities = { certificateAuthorities: [certificates.authority] };
    const clients = [fixture.client(authorities), fixture.client({ registries: { [registry.host]: authorities } })];
    for (const client of clients) expect((await client.resolve(reference)).manifestDigest).toBe(digest);
    const other = fixture.client({ registries: { 'other.example': authorities } });
    expect(await failure(other.resolve(reference))).toMatchObject({ code: 'registry_unreachable' });
  });

  test('a registry configured as insecure is not asked who it is', async () => {
    const { registry, reference, digest } = await start();
    const clients = [
      fixture.client({ insecureRegistries: [registry.host] }),
      fixture.client({ registries: { [registry.host]: { insecure: true } } }),
    ];
    for (const client of clients) expect((await client.resolve(reference)).manifestDigest).toBe(digest);
  });

  test('a name that the certificate is not for', async () => {
    const { registry } = await start();
    const client = fixture.client({ certificateAuthorities: [certificates.authority] });
    const error = await failure(client.resolve(parseReference(`other.localhost:${registry.port}/team/app`)));
    expect(error.code).toBe('registry_unreachable');
  });

  test('what is no certificate is told when the client is made', () => {
    expect(() => createRegistryClient({ certificateAuthorities: ['nonsense'] })).toThrow(OciError);
    const registries = { 'a.example': { certificateAuthorities: ['nonsense'] } };
    expect(() => createRegistryClient({ registries })).toThrow('a configured CA certificate of a.example');
  });
});

describe('a registry that demands a client certificate', () => {
  const start = async (maxVersion?: 'TLSv1.2') => {
    const { key, cert, authority: ca } = certificates;
    const tls = { key, cert, ca, requestCert: true, ...(maxVersion !== undefined && { maxVersion }) };
    const registry = await fixture.registry({ tls });
    const { reference, digest } = push(registry);
    return { registry, digest, reference: parseReference(reference) };
  };
  const authorities = () => ({ certificateAuthorities: [certificates.authority] });

  test('gets the one that is configured for it', async () => {
    const { registry, reference, digest } = await start();
    const { key, cert } = certificates;
    const client = fixture.client({
      ...authorities(),
      registries: { [registry.host]: { clientCertificate: { key, cert } } },
    });
    expect((await client.resolve(reference)).manifestDigest).toBe(digest);
  });

  test('does not get that of another registry; the error says what it demands, and is not retried', async () => {
    const { registry, reference } = await start();
    const { key, cert } = certificates;
    const client = fixture.client({
      ...authorities(),
      registries: { 'other.example': { clientCertificate: { key, cert } } },
    });
    const error = await failure(client.resolve(reference));
    expect(error).toMatchObject({ code: 'client_certificate_refused', retryable: false, host: registry.host });
    expect(error.message).toContain(`${registry.host} demands a client certificate`);
    expect(error.message).toContain('client_certificate of this registry in registries.yaml');
    expect(registry.requests).toEqual([]);
  });

  test('with TLS 1.2, which does not say so, may be one', async () => {
    const { registry, reference } = await start('TLSv1.2');
    const error = await failure(fixture.client(authorities()).resolve(reference));
    expect(error).toMatchObject({ code: 'registry_unreachable', retryable: false });
    expect(error.message).toContain('it may demand a client certificate');
    // Not even by plain HTTP, as on loopback where no TLS is spoken.
    expect(registry.requests).toEqual([]);
  });

  test('as nginx does it, with a page, is told by its words', async () => {
    const registry = await fixture.registry();
    const page = '<html><head><title>400 No required SSL certificate was sent</title></head></html>';
    registry.plan({ path: '/v2/', status: 400, body: page });
    const error = await failure(fixture.client().resolve(parseReference(`${registry.host}/team/app`)));
    expect(error).toMatchObject({ code: 'client_certificate_refused', status: 400, retryable: false });
    expect(error.message).toContain('demands a client certificate');
    expect(error.message).toContain('(No required SSL certificate was sent)');
  });
});

describe('proxies', () => {
  const proxies: Pick<TestProxy, 'close'>[] = [];
  afterEach(async () => {
    for (const proxy of proxies.splice(0)) await proxy.close();
  });
  const start = async (options: TestProxyOptions = {}, tls: { ca?: string; requestCert?: boolean } = {}) => {
    const registry = await fixture.registry({ tls: { key: certificates.key, cert: certificates.cert, ...tls } });
    const { digest } = push(registry);
    const proxy = await startProxy(registry.port, options);
    proxies.push(proxy);
    return { registry, digest, proxy };
  };
  const reference = parseReference('registry.test/team/app');

  test('carry what leaves the machine, encrypted end to end', async () => {
    const { digest, proxy, registry } = await start();
    const client = fixture.client({
      proxies: { https: proxy.url, exclude: '' },
      certificateAuthorities: [certificates.authority],
    });
    const { manifestDigest, layers } = await client.resolve(reference);
    expect(manifestDigest).toBe(digest);
    const path = join(await fixture.directory(), 'blob');
    for (const { descriptor } of layers) await client.download(reference, descriptor, path);
    expect(new Set(proxy.tunnels)).toEqual(new Set(['registry.test:443']));
    // Loopback is this machine.
    expect(await failure(client.resolve(parseReference(`${registry.host}/team/none`)))).toMatchObject({ status: 404 });
    expect(new Set(proxy.tunnels)).toEqual(new Set(['registry.test:443']));
  });

  test('may speak SOCKS', async () => {
    const { digest, registry } = await start();
    const proxy = await startSocksProxy(registry.port);
    proxies.push(proxy);
    const client = fixture.client({
      proxies: { https: proxy.url, exclude: '' },
      certificateAuthorities: [certificates.authority],
    });
    expect((await client.resolve(reference)).manifestDigest).toBe(digest);
    expect(new Set(proxy.hosts)).toEqual(new Set(['registry.test']));
  });

  test('for plain HTTP are not asked for what is encrypted', async () => {
    const { proxy } = await start();
    const client = fixture.client({ proxies: { http: proxy.url, https: '', exclude: '' } });
    expect(await failure(client.resolve(parseReference('registry.invalid/a')))).toMatchObject({
      code: 'registry_unreachable',
    });
    expect(proxy.tunnels).toEqual([]);
  });

  test('are not asked for hosts that are excluded', async () => {
    const { proxy } = await start();
    const client = fixture.client({ proxies: { https: proxy.url, exclude: 'example.com,registry.invalid' } });
    expect(await failure(client.resolve(parseReference('registry.invalid/a')))).toMatchObject({
      code: 'registry_unreachable',
    });
    expect(proxy.tunnels).toEqual([]);
  });

  test.each([
    [407, false, 'wants a name and a password'],
    [403, false, 'may not allow the host'],
    [503, true, 'may not reach the host itself'],
  ])('that refuse say so: %i', async (status, retryable, advice) => {
    const { proxy } = await start({ status });
    const secret = proxy.url.replace('http://', 'http://name:secret-of-the-proxy@');
    const client = fixture.client({ proxies: { https: secret, exclude: '' }, retry: { attempts: 1 } });
    const error = await failure(client.resolve(reference));
    expect(error).toMatchObject({ code: 'registry_unreachable', host: 'registry.test', status, retryable });
    expect(error.message).toContain(`cannot reach registry.test: the proxy on the way refused with status ${status}`);
    expect(error.message).toContain(advice);
    expect(inspect(error, { depth: 8 })).not.toContain('secret-of-the-proxy');
  });

  test('hide no demand for a client certificate', async () => {
    const { proxy } = await start({}, { ca: certificates.authority, requestCert: true });
    const client = fixture.client({
      proxies: { https: proxy.url, exclude: '' },
      certificateAuthorities: [certificates.authority],
    });
    const error = await failure(client.resolve(reference));
    expect(error).toMatchObject({ code: 'client_certificate_refused', retryable: false, host: 'registry.test' });
    expect(proxy.tunnels).toHaveLength(1);
  });

  test('that demand a client certificate of their own, for which there is no setting, are asked once', async () => {
    const { key, cert, authority: ca } = certificates;
    const { proxy } = await start({ tls: { key, cert, ca, requestCert: true } });
    const client = fixture.client({ proxies: { https: proxy.url, exclude: '' }, certificateAuthorities: [ca] });
    const error = await failure(client.resolve(reference));
    expect(error).toMatchObject({ code: 'registry_unreachable', retryable: false, host: 'registry.test' });
    expect(error.message).toContain('the proxy 127.0.0.1:');
    expect(error.message).toContain('demands a client certificate');
    expect(proxy.connections()).toBe(1);
  });

  test('that are not trusted, or do not speak TLS, are told as such, not as the registry', async () => {
    const { proxy } = await start({ tls: { key: certificates.key, cert: certificates.cert } });
    const through = (https: string) => fixture.client({ proxies: { https, exclude: '' }, retry: { attempts: 1 } });
    const untrusted = await failure(through(proxy.url).resolve(reference));
    expect(untrusted).toMatchObject({ code: 'registry_unreachable', retryable: false });
    expect(untrusted.message).toContain('cannot trust the proxy 127.0.0.1:');
    const plain = (await start()).proxy;
    const error = await failure(through(plain.url.replace('http:', 'https:')).resolve(reference));
    expect(error).toMatchObject({ code: 'registry_unreachable', retryable: false });
    expect(error.message).toContain('name it by http://');
  });

  test('that end the connection are asked as often as anything is tried', async () => {
    const { proxy, registry } = await start({ status: 'none' });
    const client = fixture.client({ proxies: { https: proxy.url, exclude: '' }, retry: { attempts: 2 } });
    const path = join(await fixture.directory(), 'blob');
    for (const asked of [client.resolve(reference), client.download(reference, registry.putBlob(random(10)), path)]) {
      const error = await failure(asked);
      expect(error).toMatchObject({ code: 'registry_error', retryable: true, host: 'registry.test' });
      expect(error.message).toContain(
        `the connection to the proxy ${new URL(proxy.url).host} on the way to registry.test broke`,
      );
    }
    expect(proxy.connections()).toBe(4);
  });

  test('that do not answer are given up, also for a blob', async () => {
    const { proxy, registry } = await start({ status: 'never' });
    const client = fixture.client({
      proxies: { https: proxy.url, exclude: '' },
      connectTimeoutMs: 50,
      retry: { attempts: 1 },
    });
    const path = join(await fixture.directory(), 'blob');
    const error = await failure(client.download(reference, registry.putBlob(random(10)), path));
    expect(error).toMatchObject({ code: 'registry_unreachable', retryable: true });
    expect(error.message).toContain('on the way to registry.test: it did not answer in time');
  });

  test('are shown the password that stands in their URL', async () => {
    const { digest, proxy } = await start();
    const client = fixture.client({
      proxies: { https: proxy.url.replace('http://', 'http://name:p%40ss@'), exclude: '' },
      certificateAuthorities: [certificates.authority],
    });
    expect((await client.resolve(reference)).manifestDigest).toBe(digest);
    expect(new Set(proxy.authorizations)).toEqual(new Set([`Basic ${Buffer.from('name:p@ss').toString('base64')}`]));
  });

  test('that are not there are told as such, not as the registry', async () => {
    const error = await failure(
      fixture.client({ proxies: { https: 'http://u:secret@no-proxy.invalid:3128', exclude: '' } }).resolve(reference),
    );
    expect(error).toMatchObject({ code: 'registry_unreachable', host: 'registry.test' });
    expect(error.message).toContain('cannot reach the proxy no-proxy.invalid:3128 on the way to registry.test: ');
    expect(error.message).not.toContain('secret');
  });

  test('may be named without http://, as Go’s tools take them; what is none is told', async () => {
    const { digest, proxy } = await start();
    const asked = (https: string) =>
      fixture
        .client({ proxies: { https, exclude: '' }, certificateAuthorities: [certificates.authority] })
        .resolve(reference);
    expect((await asked(proxy.url.replace('http://', ''))).manifestDigest).toBe(digest);
    for (const wrong of ['ftp://name:secret-of-the-proxy@proxy', 'http://', 'a b', 'http://u:secret%zz@proxy']) {
      const error = await failure(asked(wrong));
      expect(error).toMatchObject({
        code: 'invalid_request',
        message: expect.stringContaining('HTTPS_PROXY is not the URL of a proxy'),
      });
      expect(error.message).not.toContain('secret');
    }
  });

  test('are not asked for addresses of ranges that are excluded', async () => {
    const { proxy } = await start();
    const proxied = { https: proxy.url, exclude: '' };
    const refused = parseReference('192.0.2.1:9/a');
    // Documentation addresses (RFC 5737) are at nobody's.
    const options = { retry: { attempts: 1 } };
    const excluding = fixture.client({
      ...options,
      connectTimeoutMs: 300,
      proxies: { ...proxied, exclude: '192.0.2.0/24' },
    });
    expect(await failure(excluding.resolve(refused))).toMatchObject({ code: 'registry_unreachable' });
    expect(proxy.tunnels).toEqual([]);
    await failure(fixture.client({ ...options, proxies: proxied }).resolve(refused));
    expect(proxy.tunnels).toEqual(['192.0.2.1:9']);
  });
});
