import { stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Agent } from 'undici';
import * as z from 'zod';
import { errorBody, startTestStack, type TestStack } from './support/api.ts';
import { documented } from './support/conformance.ts';

const malformedBodies: readonly (string | Buffer)[] = [
  '',
  '{',
  'null',
  '[]',
  '"text"',
  '42',
  '{}',
  '{"ref":""}',
  '{"ref":null}',
  '{"ref":42}',
  '{"ref":{}}',
  '{"ref":["a"]}',
  '{"ref":"a:b:c"}',
  '{"ref":"UPPER CASE"}',
  '{"ref":"\\u0000"}',
  '{"ref":"a","ref2":1}',
  '{"ref":"a","__proto__":{"x":1}}',
  '{"ref":"a","constructor":1}',
  '{"ref":"a","name":"../../etc/passwd"}',
  '{"ref":"a","name":""}',
  '{"ref":"a","name":"\\ud800"}',
  '{"ref":"a","auth":"no-colon"}',
  '{"ref":"a","auth":1}',
  '{"ref":"a","platform":"windows/amd64"}',
  '{"ref":"a","platform":"a/b/c/d"}',
  '{"ref":"a","size":"huge"}',
  '{"ref":"a","size":-1}',
  '{"ref":"a","size":1e400}',
  '{"ref":"a","size":[]}',
  '{"ref":"a","force":"yes"}',
  `{"ref":"${'a'.repeat(2000)}"}`,
  `${'['.repeat(20_000)}`,
  Buffer.from([0xff, 0xfe, 0x00, 0x80]),
];

let api: TestStack;
beforeAll(async () => {
  api = await startTestStack();
});
afterAll(() => api.close());

describe('every route', () => {
  const wrong: readonly Record<string, string>[] = [
    {},
    { authorization: '' },
    { authorization: 'Bearer' },
    { authorization: 'Bearer ' },
    { authorization: 'Bearer wrong' },
    { authorization: `Bearer bht_${'a'.repeat(40)}` },
    { authorization: 'Basic YTpi' },
    { authorization: `Bearer ${'x'.repeat(4000)}` },
  ];
  /** Where a route is asked. */
  const at = (path: string) => path.replace(/:\w+/, 'x');

  test('wants a token over TCP', async () => {
    let lastAddress = 1;
    expect(api.routes.filter(({ open }) => open).map(({ path }) => path)).toEqual([
      '/health',
      '/ready',
      '/openapi.json',
      '/docs',
    ]);
    for (const { method, path } of api.routes.filter(({ open }) => !open)) {
      const what = `${method} ${path}`;
      // Wrong tokens are counted by address.
      const sendTcp = api.sendTcpFrom(`127.0.0.${++lastAddress}`);
      for (const headers of wrong) {
        const answer = await sendTcp(method, at(path), { headers });
        expect([what, headers, answer.status]).toEqual([what, headers, 401]);
        expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
        expect(errorBody.parse(answer.body).code).toBe('unauthorized');
      }
      const cut = { authorization: `Bearer ${api.token.slice(0, -1)}` };
      expect([what, (await sendTcp(method, at(path), { headers: cut })).status]).toEqual([what, 401]);
      if (method === 'GET') expect([what, (await sendTcp('HEAD', at(path))).status]).toEqual([what, 401]);
    }
  });

  test('takes the token, and the unix socket takes none', async () => {
    const headers = { authorization: `bearer ${api.token}` };
    for (const { method, path } of api.routes) {
      const statuses = [
        (await api.sendTcp(method, at(path), { headers })).status,
        (await api.send(method, at(path))).status,
      ];
      expect([method, path, statuses]).toEqual([method, path, [expect.any(Number), statuses[0]]]);
      expect([401, 403]).not.toContain(statuses[0]);
    }
  });

  test('takes no malformed body for its fault', async () => {
    for (const { method, path } of api.routes.filter((route) => route.method !== 'GET')) {
      for (const raw of malformedBodies) {
        const answer = await api.send(method, at(path), { raw });
        expect(answer.status).toBeLessThan(500);
        if (!['/images/pull', '/images/import'].includes(path)) continue;
        expect([path, raw, answer.status]).toEqual([path, raw, 400]);
        expect(errorBody.parse(answer.body).request_id).toBe(answer.headers['x-request-id']);
      }
    }
  });

  test('answers 405 to other methods, with what is allowed', async () => {
    const isAt = (pattern: string, path: string) => new RegExp(`^${pattern.replace(/:\w+/g, '[^/]+')}$`).test(path);
    for (const { method, path } of api.routes) {
      const possible: string[] = api.routes.filter((route) => isAt(route.path, at(path))).map((route) => route.method);
      for (const other of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND']) {
        if (possible.includes(other)) continue;
        const answer = await api.send(other, at(path));
        expect([path, other, answer.status]).toEqual([path, other, 405]);
        expect(errorBody.parse(answer.body).code).toBe('method_not_allowed');
        expect(answer.headers.allow).toContain(method);
      }
    }
  });

  test.each(['/nothing', '/Images', '/images/a/b', '/images/pull/x', '//images', '/../etc/passwd'])(
    '%s is no route',
    async (path) => {
      const answer = await api.send('GET', path);
      expect(answer.status).toBe(404);
      expect(errorBody.parse(answer.body).code).toBe('not_found');
      expect((await api.sendTcp('GET', path)).status).toBe(401);
    },
  );

  test.each(['/images/%', '/tasks/%E0%A4%A', '/images/%ff'])('%s is malformed', async (path) => {
    const answer = await api.send('GET', path);
    expect(answer.status).toBe(400);
    errorBody.parse(answer.body);
  });

  test.each([
    ['GET', '/tasks?limit=1&limit=2', 'limit'],
    ['GET', '/tasks?status=queued&status=running', 'status'],
    ['GET', '/tasks/tsk_aaaaaaaaaaaa?wait=1&wait=1', 'wait'],
    ['POST', '/images/import?name=a&name=b', 'name'],
    ['POST', '/images/import?force=true&force=true', 'force'],
  ])('a query parameter that is given twice is told as such: %s %s', async (method, path, name) => {
    const answer = await api.send(method, path);
    expect(answer.status).toBe(400);
    expect(errorBody.parse(answer.body).error).toBe(`query parameter "${name}" is given twice: give it once`);
  });

  test('unknown query parameters are refused by name', async () => {
    const answer = await api.send('GET', '/images?color=red');
    expect(answer.status).toBe(400);
    expect(errorBody.parse(answer.body).error).toBe('unknown query parameter "color"; known here: limit, cursor');
  });

  test('health needs no token', async () => {
    const answer = await api.sendTcp('GET', '/health');
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ status: 'ok', version: expect.any(String), redis: 'ok' });
    expect((await api.sendTcp('POST', '/health')).status).toBe(405);
  });

  test('a request id that is harmless is kept, another is replaced', async () => {
    const kept = await api.send('GET', '/images', { headers: { 'x-request-id': 'my-id.1' } });
    expect(kept.headers['x-request-id']).toBe('my-id.1');
    const replaced = await api.send('GET', '/images', { headers: { 'x-request-id': 'a b"}{' } });
    expect(replaced.headers['x-request-id']).toMatch(/^req_[0-9a-f]{16}$/);
  });

  test('a body that is too large is 413', async () => {
    const answer = await api.send('POST', '/images/pull', { body: { ref: 'a', name: 'x'.repeat(70_000) } });
    expect(answer.status).toBe(413);
    expect(errorBody.parse(answer.body).code).toBe('too_large');
  });

  test('a Content-Encoding that is not known is 415', async () => {
    const answer = await api.send('POST', '/images/pull', { raw: 'x', headers: { 'content-encoding': 'compress' } });
    expect(answer.status).toBe(415);
    errorBody.parse(answer.body);
  });

  test('what is no HTTP is answered in the form of every error', async () => {
    const text = await new Promise<string>((resolve, reject) => {
      let received = '';
      const socket = connect(api.socketPath, () => socket.write('NOT HTTP AT ALL\r\n\r\n'));
      socket.on('data', (data) => {
        received += data.toString();
      });
      socket.once('error', reject);
      socket.once('close', () => resolve(received));
    });
    expect(text).toMatch(/^HTTP\/1\.1 400 Bad Request/);
    expect(errorBody.parse(JSON.parse(text.slice(text.indexOf('\r\n\r\n')))).code).toBe('invalid_request');
  });

  test('the socket is its owner only, and no token is logged', async () => {
    expect((await stat(api.socketPath)).mode & 0o777).toBe(0o600);
    expect(api.log()).toContain('"method":"GET"');
    expect(api.log()).not.toContain(api.token);
    expect(api.log()).not.toContain(api.token.slice(4, 20));
  });

  const otherSites: readonly Record<string, string>[] = [
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { origin: 'https://elsewhere.example' },
    { origin: 'http://localhost:9000' },
    { origin: 'null' },
    { origin: 'http://localhost', 'sec-fetch-site': 'cross-site' },
  ];
  test.each(otherSites)('on the socket a page elsewhere (%j) changes nothing', async (headers) => {
    for (const { method, path } of api.routes) {
      if (method === 'GET') continue;
      const answer = await api.send(method, at(path), { raw: method === 'POST' ? '{"ref":"alpine"}' : '', headers });
      expect(answer.status).toBe(403);
      expect(errorBody.parse(answer.body)).toMatchObject({ code: 'forbidden' });
      expect(answer.text).toContain('web page of another site');
    }
    expect((await api.send('GET', '/tasks', { headers })).body).toEqual({ tasks: [], next: null });
  });

  test('on the socket the own page and tools change what they like', async () => {
    const own: readonly Record<string, string>[] = [
      {},
      { origin: 'http://localhost' },
      { 'sec-fetch-site': 'same-origin' },
      { 'sec-fetch-site': 'none' },
    ];
    for (const headers of own) expect((await api.send('DELETE', '/images/none', { headers })).status).toBe(404);
  });

  test('validation says what is wrong and what to do', async () => {
    const message = async (body: unknown) =>
      errorBody.parse((await api.send('POST', '/images/pull', { body })).body).error;
    expect(await message({})).toBe('field "ref" is missing: give an image reference such as "python:3.12"');
    expect(await message({ ref: 'a', nam: 'b' })).toBe(
      'unknown field "nam"; known here: ref, name, auth, platform, size, force',
    );
    expect(await message({ ref: 1, force: 1 })).toBe(
      'field "ref" must be text: an image reference such as "python:3.12"; field "force" must be true or false',
    );
    expect(await message([])).toBe('the body must be a JSON object');
    expect(await message({ ref: 'a', name: 'a b' })).toMatch(/^"a b" cannot be an image name: use 1 to 63 letters/);
    expect(await message({ ref: 'a', size: '2G' })).toBe(
      'field "size" "2G" is not a size; use 2GB, 512MB, 4GiB or a number of bytes',
    );
  });
});

describe('the documentation', () => {
  test('is valid OpenAPI 3.1, needs no token, and names every route', async () => {
    const answer = await api.sendTcp('GET', '/openapi.json');
    expect(answer.status).toBe(200);
    expect(await new Validator().validate(JSON.parse(answer.text))).toEqual({ valid: true });
    const { openapi, paths } = z
      .object({ openapi: z.string(), paths: z.record(z.string(), z.record(z.string(), z.unknown())) })
      .parse(answer.body);
    expect(openapi).toBe('3.1.0');
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((one) => `${one} ${path}`),
    );
    expect(routes).toEqual(
      expect.arrayContaining([
        'post /images/pull',
        'get /images/{name}',
        'get /tasks',
        'get /openapi.json',
        'get /docs',
      ]),
    );
  });

  test('can be read in a browser, with nothing from elsewhere', async () => {
    const answer = await api.sendTcp('GET', '/docs');
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(answer.headers['content-security-policy']).toContain("default-src 'none'");
    expect(answer.text).toContain('POST /images/pull');
    expect(answer.text).not.toMatch(/(src|href)="(https?:)?\/\//);
  });

  test('is what the answers of every test are held to', async () => {
    const dispatcher = new Agent();
    const conforms = await documented(api.url, dispatcher);
    await dispatcher.close();
    const answer = { headers: {}, text: '' };
    const image = { name: 'a' };
    expect(() =>
      conforms('GET', '/images', { ...answer, status: 200, body: { images: [], next: null } }),
    ).not.toThrow();
    expect(() =>
      conforms('GET', '/images', { ...answer, status: 200, body: { images: [image], next: null } }),
    ).toThrow();
    expect(() => conforms('GET', '/images', { ...answer, status: 201, body: {} })).toThrow('does not name');
    expect(() => conforms('GET', '/images/a', { ...answer, status: 404, body: { error: 'no' } })).toThrow();
  });

  test('answers carry security headers and none of CORS', async () => {
    const { headers } = await api.send('GET', '/images', { headers: { origin: 'https://elsewhere.example' } });
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
      'cross-origin-resource-policy': 'same-origin',
    });
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });
});
