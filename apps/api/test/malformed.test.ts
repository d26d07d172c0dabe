import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import * as z from 'zod';
import { anyCharacter } from '../../../test/support/any-character.ts';
import { noBody, type Route } from '../route.ts';
import { errorBody, startTestStack, type TestStack } from './support/api.ts';

let api: TestStack;
beforeAll(async () => {
  api = await startTestStack();
});
afterAll(() => api.close());

/** Ms for an answer: only one that hangs takes longer. */
const patience = 10_000;

/** An object with the keys of the schema and any values, one with an extra field, or no object at all. */
function malformed(schema: z.ZodType): fc.Arbitrary<unknown> {
  const keys = schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
  const value = fc.oneof(fc.jsonValue(), fc.string({ unit: anyCharacter }), fc.double());
  const key = fc.oneof(fc.constantFrom(...(keys.length > 0 ? keys : ['x'])), fc.string());
  return fc.oneof(fc.dictionary(key, value, { maxKeys: 8 }), fc.jsonValue());
}

/** Not `.` and `..`: the client would resolve them, and ask another route. */
const segment = fc
  .oneof(fc.string({ minLength: 1 }), fc.constantFrom('tsk_aaaaaaaaaaaa', 'app', '../..', '%', '\0'))
  .filter((text) => text !== '.' && text !== '..');

/** A path, a query made of the schema's parameters, and a body: JSON by the schema, or bytes. */
function requests({ path, query, body }: Route) {
  return fc.record({
    path: fc.array(segment, { minLength: 2, maxLength: 2 }).map((parts) => {
      let next = 0;
      return path.replace(/:\w+/g, () => encodeURIComponent(parts[next++] ?? 'x'));
    }),
    query: malformed(query).map((given) => queryOf(given)),
    raw:
      body === noBody
        ? fc.constant(undefined)
        : fc.oneof(
            malformed(body).map((given) => JSON.stringify(given) ?? ''),
            fc.uint8Array().map((bytes) => Buffer.from(bytes)),
          ),
  });
}

function queryOf(given: unknown): string {
  const object = z.record(z.string(), z.unknown()).safeParse(given).data ?? {};
  // Not String: an object may have a key `toString`.
  const text = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
  const texts = Object.fromEntries(Object.entries(object).map(([key, value]) => [key, text(value)]));
  return `?${new URLSearchParams(texts)}`;
}

test('no route takes what is malformed for its own fault, or for ever', async () => {
  expect(api.routes.length).toBeGreaterThan(10);
  for (const route of api.routes) {
    await fc.assert(
      fc.asyncProperty(requests(route), async ({ path, query, raw }) => {
        const signal = AbortSignal.timeout(patience);
        const ask = { signal, ...(raw !== undefined && { raw }) };
        const answer = await api.send(route.method, `${path}${query}`, ask);
        // Without a worker the server is not ready.
        if (route.path === '/ready' && answer.status === 503) return;
        expect(answer.status).toBeLessThan(500);
        if (answer.status >= 400) errorBody.parse(answer.body);
      }),
      { numRuns: 40 },
    );
  }
});

/** Paths that the table of pages lacks: those of the queue board, and one with a query. */
const morePages = [
  '/ui/images/:name/delete?owner=:owner',
  '/admin/queues/:page',
  '/admin/queues/api/queues/:queue',
  '/admin/queues/api/queues/images/:job',
  '/admin/queues/api/queues/images/:job/retry',
  '/admin/queues/api/queues?activeQueue=:queue&page=:page&jobsPerPage=:count',
];

test('nor does a page', async () => {
  const forms = fc.oneof(
    fc.dictionary(fc.constantFrom('ref', 'name', 'size', 'force', 'form_token', 'token'), fc.string()).map(queryOf),
    fc.string({ unit: anyCharacter }),
  );
  const types = ['application/x-www-form-urlencoded', 'application/json', 'text/plain; charset=nonsense'];
  // `/ui/events` answers for as long as somebody listens.
  const pages = new Set(api.pages.map(({ path }) => path).filter((path) => path !== '/ui/events'));
  expect(pages.size).toBeGreaterThan(10);
  for (const page of [...pages, ...morePages]) {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE'),
        fc.array(segment, { minLength: 3, maxLength: 3 }),
        forms,
        fc.constantFrom(...types),
        async (method, parts, raw, type) => {
          let next = 0;
          const path = page.replace(/:\w+/g, () => encodeURIComponent(parts[next++] ?? 'x'));
          const ask = { signal: AbortSignal.timeout(patience), headers: { 'content-type': type } };
          const answer = await api.send(method, path, method === 'GET' ? ask : { ...ask, raw });
          expect(answer.status).toBeLessThan(500);
        },
      ),
      { numRuns: 15 },
    );
  }
});
