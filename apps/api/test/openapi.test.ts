import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Agent } from 'undici';
import * as z from 'zod';
import { startTestStack, type TestStack } from './support/api.ts';
import { documented } from './support/conformance.ts';

describe('the documentation', () => {
  let api: TestStack;
  beforeAll(async () => {
    api = await startTestStack();
  });
  afterAll(() => api.close());

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
