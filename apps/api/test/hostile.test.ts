import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import * as z from 'zod';
import { anyCharacter } from '../../../test/support/any-character.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { noBody, type Route } from '../request/route.ts';
import { errorBody, queuePull, startTestApi, startTestStack, type TestStack } from './support/api.ts';

let api: TestStack;
beforeAll(async () => {
  api = await startTestStack();
});
afterAll(() => api.close());

/** Sends these bytes and leaves the connection open. Resolves to the first answer that has a body. */
function exchange(head: readonly string[], body = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = connect(api.socketPath, () => socket.write(`${head.join('\r\n')}\r\n\r\n${body}`));
    socket.on('data', (data) => {
      received += data.toString();
      if (/\r\n\r\n\{.*\}\n$/s.test(received)) {
        socket.destroy();
        resolve(received);
      }
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`cut after ${JSON.stringify(received)}`)));
  });
}

const pull = ['POST /images/pull HTTP/1.1', 'Host: x'];

describe('a body that is too large is refused at once', () => {
  test('by its length, before any of it has come', async () => {
    expect(await exchange([...pull, 'Content-Length: 1000000000'])).toMatch(/^HTTP\/1\.1 413 [\s\S]*"too_large"/);
  });

  test('and before it is sent by who asks first', async () => {
    const answer = await exchange([...pull, 'Content-Length: 1000000000', 'Expect: 100-continue']);
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  });

  test('also without a length and without an end', async () => {
    const chunk = `10000\r\n${'a'.repeat(0x10000)}\r\n`;
    expect(await exchange([...pull, 'Transfer-Encoding: chunked'], chunk + chunk)).toMatch(/^HTTP\/1\.1 413 /);
  });

  test('that of a form, too, which anybody may send', async () => {
    const type = 'Content-Type: application/x-www-form-urlencoded';
    const socket = connect(api.socketPath, () =>
      socket.write(['POST /login HTTP/1.1', 'Host: x', type, 'Content-Length: 1000000000', '', 'a'].join('\r\n')),
    );
    const [data] = await once(socket, 'data');
    socket.destroy();
    expect(String(data)).toMatch(/^HTTP\/1\.1 413 /);
  });
});

test('a body that does not decompress is the fault of its sender', async () => {
  const answer = await api.send('POST', '/images/pull', { raw: '{}', headers: { 'content-encoding': 'gzip' } });
  expect(answer.status).toBe(400);
  expect(errorBody.parse(answer.body).code).toBe('invalid_request');
});

test('an expectation that nobody knows is passed over', async () => {
  const body = '{"ref":"Not A Reference"}';
  const answer = await exchange([...pull, 'Expect: 200-ok', `Content-Length: ${body.length}`], body);
  expect(answer).toContain('"invalid_reference"');
});

test('a body in pieces, one byte at a time, is read', async () => {
  const pieces = [...'{"ref":"A"}'].map((byte) => `1\r\n${byte}\r\n`).join('');
  const answer = await exchange([...pull, 'Transfer-Encoding: chunked'], `${pieces}0\r\n\r\n`);
  expect(answer).toContain('"invalid_reference"');
});

test('Allow names HEAD where GET is possible', async () => {
  expect((await api.send('POST', '/images/app', { raw: '' })).headers.allow).toBe('GET, HEAD, DELETE');
  expect((await api.send('HEAD', '/images')).status).toBe(200);
});

test.each(['text/html', 'application/xml;q=0.9', '*/*;q=0', 'nonsense'])(
  'Accept: %s changes nothing',
  async (accept) => {
    const answer = await api.send('GET', '/images', { headers: { accept } });
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
  },
);

test.each(['ä', 'имя', '😀', 'a\u0000b', 'a/../b', 'a'.repeat(64), '.hidden', ' '])(
  'the name %j is refused for what it is',
  async (name) => {
    const pulled = await api.send('POST', '/images/pull', { body: { ref: 'app:1', name } });
    const imported = await api.send('POST', `/images/import?${new URLSearchParams({ name })}`, { raw: 'x' });
    for (const answer of [pulled, imported]) {
      expect(answer.status).toBe(400);
      expect(errorBody.parse(answer.body).code).toBe('invalid_name');
    }
    expect((await api.send('GET', `/images/${encodeURIComponent(name)}`)).status).toBe(404);
  },
);

/** Watches a task. `begun` with its first event, `ended` with all that came, when the server ends it. */
function watch(socketPath: string, id: string): { begun: Promise<void>; ended: Promise<string> } {
  let received = '';
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const ended = new Promise<string>((resolve, reject) => {
    const socket = connect(socketPath, () => socket.write(`GET /tasks/${id}/events HTTP/1.1\r\nHost: x\r\n\r\n`));
    socket.on('data', (data) => {
      received += data.toString();
      if (received.includes('event: task')) begin();
    });
    socket.once('error', reject);
    socket.once('close', () => resolve(received));
  });
  return { begun, ended };
}

test('clients that watch a task are let go when the server stops, their stream ended in order', async () => {
  const stopping = await startTestApi(api.redis.url);
  const id = await queuePull(stopping.send, { ref: 'watched:1' });
  const watchers = Array.from({ length: 20 }, () => watch(stopping.socketPath, id));
  await Promise.all(watchers.map(({ begun }) => begun));
  await stopping.close();
  for (const { ended } of watchers) {
    const text = await ended;
    expect(text.match(/^event: task$/gm)).toHaveLength(1);
    // The last chunk of a body that was not cut.
    expect(text).toMatch(/\r\n0\r\n\r\n$/);
  }
});

test('what comes while the server stops is refused, which is no error of it', async () => {
  const stopping = await startTestApi(api.redis.url);
  const socket = connect(stopping.socketPath);
  let received = '';
  socket.on('data', (data) => {
    received += data.toString();
  });
  // The second request has begun, so the server must not close its connection as idle.
  socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n');
  await eventually(() => received.includes('"status":"ok"'));
  const logged = stopping.log().length;
  const stopped = stopping.stop();
  socket.write('\r\n');
  await once(socket, 'close');
  await stopped;
  expect(received).toMatch(/HTTP\/1\.1 503 [\s\S]*"code":"stopping"/);
  const lines = stopping.log().slice(logged);
  expect(lines).toContain('"path":"/health","status":503');
  expect(lines).not.toMatch(/"level":[4-6]0/);
  await stopping.close();
});

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
