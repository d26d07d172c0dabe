import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer as createTlsServer, get } from 'node:https';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { makeCertificates } from '../../../libs/oci/test/support/certificate.ts';
import { startProxy } from '../../../libs/oci/test/support/proxy.ts';
import { TunnelAgent } from '../server/proxy.ts';
import { runHere } from './command-line.ts';
import { type Answer, type Call, serveAnswers } from './http-server.ts';
import { cleanEnvironment, stageCli } from './staged-cli.ts';

/** The CLI with a server that can only be reached through a proxy: no name server knows the names here. */
let staged: Awaited<ReturnType<typeof stageCli>>;
let directory: string;
beforeAll(async () => {
  staged = await stageCli();
  directory = staged.dataDirectory('proxy');
  await mkdir(directory);
});
afterAll(() => staged.remove());
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const listing = ['image', 'list', '--json'];
const environment = (url: string, extra: NodeJS.ProcessEnv) =>
  cleanEnvironment(directory, { BHATTI_URL: url, BHATTI_TOKEN: 'bht_x', ...extra });

const run = (url: string, env: NodeJS.ProcessEnv, args = listing) => runHere(args, { env: environment(url, env) });

/** Two pages, so that a second request follows over the same connection. */
const images = ({ url }: Pick<Call, 'url'>): Answer =>
  url.searchParams.has('cursor')
    ? { status: 200, body: { images: [] } }
    : { status: 200, body: { images: [], next: 'more' } };

const none = { exitCode: 0, stdout: expect.stringContaining('"images": []'), stderr: '' };

describe('plain HTTP', () => {
  test('is asked of the proxy, with the password of its URL', async () => {
    const proxy = await serveAnswers(images);
    cleanups.push(proxy.close);
    const url = 'http://bhatti.test:8080/below/';
    expect(await run(url, { HTTP_PROXY: `http://name:p%40ss@127.0.0.1:${proxy.port}` })).toEqual(none);
    expect(proxy.calls.map((call) => call.url.href.replace(/\?.*/, ''))).toEqual(
      new Array(2).fill('http://bhatti.test:8080/below/images'),
    );
    expect(proxy.calls[0]?.headers).toMatchObject({
      host: 'bhatti.test:8080',
      authorization: 'Bearer bht_x',
      'proxy-authorization': `Basic ${Buffer.from('name:p@ss').toString('base64')}`,
    });
  });

  test('is not, for hosts in NO_PROXY, this machine, and with a proxy for HTTPS alone', async () => {
    const server = await serveAnswers(images);
    const proxy = await serveAnswers(() => ({ status: 500, body: {} }));
    cleanups.push(server.close, proxy.close);
    const through = `127.0.0.1:${proxy.port}`;
    expect(await run(`http://localhost:${server.port}`, { http_proxy: through })).toEqual(none);
    for (const env of [{ HTTP_PROXY: through, NO_PROXY: 'other,.test' }, { HTTPS_PROXY: through }]) {
      const { stderr } = await run('http://bhatti.test', env);
      expect(stderr).toContain('the name of http://bhatti.test is not known');
    }
    expect(proxy.calls).toEqual([]);
  });
});

describe('HTTPS', () => {
  test('goes through one tunnel, encrypted end to end', async () => {
    const { key, cert, authority } = await makeCertificates(directory);
    await writeFile(join(directory, 'authority.pem'), authority);
    const server = createTlsServer({ key, cert }, (request, response) => {
      const { status, body } = images({ url: new URL(request.url ?? '', 'https://registry.test') });
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(async () => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    const proxy = await startProxy(typeof address === 'object' ? (address?.port ?? 0) : 0);
    cleanups.push(proxy.close);
    const env = { HTTPS_PROXY: proxy.url.replace('//', '//name:p%40ss@') };
    // In processes, as Node reads this variable once.
    const trusting = { ...env, NODE_EXTRA_CA_CERTS: join(directory, 'authority.pem') };
    const runTrusting = (url: string) => staged.run(listing, { env: environment(url, trusting) });
    // The name that the certificate is for.
    expect(await runTrusting('https://registry.test')).toEqual(none);
    expect(proxy.tunnels).toEqual(['registry.test:443']);
    expect(proxy.authorizations).toEqual([`Basic ${Buffer.from('name:p@ss').toString('base64')}`]);
    expect((await runTrusting('https://other.test:8443')).stderr).toContain('is for other names');
    expect((await run('https://registry.test', env)).stderr).toContain('is not from a known authority');
  });
});

test('a tunnel that leads to what says nothing is given up', async () => {
  const silent = createServer();
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const address = silent.address();
  const proxy = await startProxy(typeof address === 'object' ? (address?.port ?? 0) : 0);
  cleanups.push(async () => silent.close(), proxy.close);
  const agent = new TunnelAgent(new URL(proxy.url), new URL('https://bhatti.test'), {}, 50);
  const request = get({ agent, host: 'bhatti.test' });
  expect(await once(request, 'error')).toMatchObject([{ code: 'ETIMEDOUT' }]);
});

describe('a proxy that', () => {
  test('refuses is told as that, without its password', async () => {
    for (const [status, hint] of [
      [407, 'It wants a name and a password'],
      [403, 'It may not allow that host'],
    ] as const) {
      const proxy = await startProxy(0, { status });
      cleanups.push(proxy.close);
      const { exitCode, stderr } = await run('https://bhatti.test', {
        HTTPS_PROXY: proxy.url.replace('//', '//name:secret@'),
      });
      expect(exitCode).toBe(1);
      expect(stderr).toContain(
        `error: the proxy ${new URL(proxy.url).host} does not lead to https://bhatti.test (HTTP ${status})\n${hint}`,
      );
      expect(stderr).not.toContain('secret');
    }
    const plain = await serveAnswers(() => ({ status: 407, body: 'no', type: 'text/plain' }));
    cleanups.push(plain.close);
    expect((await run('http://bhatti.test', { HTTP_PROXY: `127.0.0.1:${plain.port}` })).stderr).toContain(
      'does not lead to http://bhatti.test (HTTP 407)\nIt wants a name and a password',
    );
  });

  test('answers by itself is named', async () => {
    for (const status of [403, 502]) {
      const proxy = await serveAnswers(() => ({ status, body: '<html>no</html>', type: 'text/html' }));
      cleanups.push(proxy.close);
      const { exitCode, stderr } = await run('http://bhatti.test', { HTTP_PROXY: `u:secret@127.0.0.1:${proxy.port}` });
      expect(exitCode).toBe(1);
      expect(stderr).toContain(
        `; it was asked through the proxy 127.0.0.1:${proxy.port}, and hosts in NO_PROXY are asked without one`,
      );
      expect(stderr).not.toContain('secret');
    }
  });

  test('is not there, or is none, is told as that', async () => {
    for (const url of ['http://bhatti.test', 'https://bhatti.test']) {
      const env = { HTTP_PROXY: 'no-proxy.invalid:3128', HTTPS_PROXY: 'no-proxy.invalid:3128' };
      expect((await run(url, env)).stderr).toMatch(
        new RegExp(
          `^error: the proxy no-proxy.invalid:3128 on the way to ${url} cannot be reached \\(E[A-Z_]+\\)\nCheck`,
        ),
      );
    }
    expect((await run('https://bhatti.test', { HTTPS_PROXY: 'ftp://u:secret@proxy' })).stderr).toMatch(
      /^error: HTTPS_PROXY is not the URL of a proxy; write it as http:\/\/host:port \(invalid_request\)\n.*NO_PROXY/,
    );
    expect((await run('https://bhatti.test', { HTTPS_PROXY: 'socks5://proxy' })).stderr).toContain('SOCKS');
    // Commands that ask no server are not affected.
    expect(await run('https://bhatti.test', { HTTPS_PROXY: 'ftp://proxy' }, ['completion', 'bash'])).toMatchObject({
      exitCode: 0,
    });
  });
});
