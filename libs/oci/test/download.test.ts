import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import type { Fault, TestRegistry } from '../../../test/support/registry.ts';
import {
  type Descriptor,
  type DownloadOptions,
  parseReference,
  type RegistryClient,
  type RetryNotice,
} from '../index.ts';
import { contents, expectContents, failure, random, useFixture } from './support/fixture.ts';

const SIZE = 3_000_000;
const fixture = useFixture();

interface Scene {
  readonly registry: TestRegistry;
  readonly client: RegistryClient;
  readonly blob: Buffer;
  readonly descriptor: Descriptor;
  readonly path: string;
  readonly notices: RetryNotice[];
  download(options?: DownloadOptions): Promise<void>;
  ranges(): (string | undefined)[];
}

/** A blob at a registry that does wrong as planned, and a client to fetch it with. */
async function scene(faults: readonly Omit<Fault, 'path'>[] = [], stallTimeoutMs = 30_000): Promise<Scene> {
  const registry = await fixture.registry();
  const blob = random(SIZE);
  const descriptor = registry.putBlob(blob);
  for (const fault of faults) registry.plan({ path: '/blobs/', ...fault });
  const notices: RetryNotice[] = [];
  const client = fixture.client({ stallTimeoutMs, onRetry: (notice) => notices.push(notice) });
  const path = join(await fixture.directory(), 'blob');
  const reference = parseReference(`${registry.host}/team/app`);
  return {
    registry,
    client,
    blob,
    descriptor,
    path,
    notices,
    download: (options) => client.download(reference, descriptor, path, options),
    ranges: () => registry.requests.map(({ range }) => range),
  };
}

describe('a download', () => {
  test('puts the blob in the file and tells how far it is', async () => {
    const { download, path, blob, registry } = await scene();
    const steps: number[] = [];
    await download({ onBytes: (bytes) => steps.push(bytes) });
    await expectContents(path, blob);
    expect(steps[0]).toBe(0);
    expect(steps.at(-1)).toBe(SIZE);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    expect(registry.requests).toHaveLength(1);
    expect(registry.requests[0]).toMatchObject({ range: undefined, status: 200, authorization: undefined });
    expect(registry.requests[0]?.userAgent).toMatch(/^bhatti\//);
  });

  test('goes on from the bytes that are in the file', async () => {
    const { download, path, blob, ranges } = await scene();
    await writeFile(path, blob.subarray(0, 1_000_001));
    const steps: number[] = [];
    await download({ onBytes: (bytes) => steps.push(bytes) });
    await expectContents(path, blob);
    expect(ranges()).toEqual(['bytes=1000001-']);
    expect(steps[0]).toBe(1_000_001);
  });

  test('asks for nothing when all bytes are there, or the blob is empty', async () => {
    const { download, path, blob, registry, client } = await scene();
    await writeFile(path, blob);
    await download();
    const empty = registry.putBlob(Buffer.alloc(0));
    await client.download(parseReference(`${registry.host}/team/app`), empty, `${path}-empty`);
    expect(await contents(`${path}-empty`)).toHaveLength(0);
    expect(registry.requests).toHaveLength(0);
  });

  test('starts anew when the file is longer than the blob', async () => {
    const { download, path, blob, ranges } = await scene();
    await writeFile(path, Buffer.concat([blob, random(1)]));
    await download();
    await expectContents(path, blob);
    expect(ranges()).toEqual([undefined]);
  });

  test('many blobs at once share the connections of a host', async () => {
    const { registry, client, path } = await scene();
    const reference = parseReference(`${registry.host}/team/app`);
    const blobs = Array.from({ length: 20 }, () => random(100_000));
    await Promise.all(
      blobs.map((bytes, position) => client.download(reference, registry.putBlob(bytes), `${path}-${position}`)),
    );
    for (const [position, bytes] of blobs.entries()) await expectContents(`${path}-${position}`, bytes);
  });
});

describe('a connection that breaks is made again, from the next byte on', () => {
  test.each<[string, Omit<Fault, 'path'>]>([
    ['closed', { cutAfter: 1_000_000 }],
    ['ended early with no length stated', { endAfter: 1_000_000 }],
  ])('%s', async (_, fault) => {
    const { download, path, blob, ranges, notices } = await scene([{ ...fault, times: 1 }]);
    await download();
    await expectContents(path, blob);
    expect(ranges()).toEqual([undefined, 'bytes=1000000-']);
    expect(notices).toMatchObject([{ failures: 1, error: { retryable: true } }]);
  });

  test('reset: whatever arrived is kept', async () => {
    const { download, path, blob, registry } = await scene([{ resetAfter: 1_000_000, times: 1 }]);
    await download();
    await expectContents(path, blob);
    expect(registry.requests).toHaveLength(2);
  });

  test('reset before the answer', async () => {
    const { download, path, blob, registry } = await scene([{ hang: true, times: 1 }]);
    const done = download();
    while (registry.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    registry.dropConnections();
    await done;
    await expectContents(path, blob);
  });

  test('stalled in the body, and before the head', async () => {
    const { download, path, blob, ranges } = await scene(
      [
        { stallAfter: 500_000, times: 1 },
        { hang: true, times: 1 },
      ],
      600,
    );
    await download();
    await expectContents(path, blob);
    expect(ranges()).toEqual([undefined, 'bytes=500000-', 'bytes=500000-']);
  });

  test.each([500, 502, 503, 504, 408, 429])('status %i', async (status) => {
    const { download, path, blob, notices } = await scene([{ status, times: 2 }]);
    await download();
    await expectContents(path, blob);
    expect(notices.map(({ error }) => error.status)).toEqual([status, status]);
  });

  test('any number of times, while each one gets on', async () => {
    const { download, path, blob, registry, notices } = await scene([{ cutAfter: 250_000 }]);
    await download();
    await expectContents(path, blob);
    expect(registry.requests).toHaveLength(12);
    expect(notices.every(({ failures }) => failures === 1)).toBe(true);
  });

  test.each([1000, 250_000])('but only a few times in a row without progress, after %i bytes', async (cutAfter) => {
    const { download, registry, path, blob } = await scene([{ cutAfter, times: 1 }, { cutAfter: 0 }]);
    const error = await failure(download());
    expect(error).toMatchObject({ code: 'registry_error', retryable: true, host: registry.host });
    expect(registry.requests).toHaveLength(4);
    await expectContents(path, blob.subarray(0, cutAfter));
  });

  test('a stall that lasts is told as one', async () => {
    const { download, registry } = await scene([{ stallAfter: 10 }], 150);
    const error = await failure(download());
    expect(error).toMatchObject({ code: 'download_stalled', retryable: true });
    expect(error.message).toBe(`${registry.host} sent nothing for 0.15 s`);
  });
});

describe('If-Range', () => {
  test('names what came before, so that a part of something else is never appended', async () => {
    const { download, path, blob, registry, descriptor } = await scene([{ cutAfter: 1_000_000, times: 1 }]);
    await download();
    await expectContents(path, blob);
    expect(registry.requests.map(({ ifRange, status }) => [ifRange, status])).toEqual([
      [undefined, 200],
      [`"${descriptor.digest}"`, 206],
    ]);
  });

  test('is given up with a server whose tags do not hold, and the whole that it sends is used', async () => {
    const { download, path, blob, registry } = await scene([
      { cutAfter: 1_000_000, headers: { etag: '"one"' }, times: 1 },
      { cutAfter: 2_000_000, headers: { etag: '"two"' }, times: 1 },
    ]);
    await download();
    await expectContents(path, blob);
    expect(registry.requests.map(({ range, ifRange, status }) => [range, ifRange, status])).toEqual([
      [undefined, undefined, 200],
      ['bytes=1000000-', '"one"', 200],
      ['bytes=2000000-', undefined, 206],
    ]);
  });

  test.each(['W/"weak"', 'bare', ''])('a tag that may not stand in it is not sent: %j', async (etag) => {
    const { download, registry } = await scene([{ cutAfter: 1_000_000, headers: { etag }, times: 1 }]);
    await download();
    expect(registry.requests.map(({ ifRange, status }) => [ifRange, status])).toEqual([
      [undefined, 200],
      [undefined, 206],
    ]);
  });
});

describe('Retry-After', () => {
  test('as a date', async () => {
    const date = new Date(Date.now() - 60_000).toUTCString();
    const { download, notices } = await scene([{ status: 503, headers: { 'retry-after': date }, times: 1 }]);
    await download();
    expect(notices).toMatchObject([{ error: { code: 'registry_error', retryAfterMs: 0 } }]);
  });

  test('in seconds is the least that is waited', async () => {
    const { download, notices } = await scene([{ status: 429, headers: { 'retry-after': '0.2' }, times: 1 }]);
    await download();
    expect(notices).toMatchObject([{ delayMs: 200 }]);
  });

  test('is waited for', async () => {
    const { download, notices } = await scene([{ status: 429, headers: { 'retry-after': '0' }, times: 1 }]);
    await download();
    expect(notices).toMatchObject([{ error: { code: 'rate_limited', retryAfterMs: 0 } }]);
  });

  test('but not when it asks for hours: the error stands at once, with what the registry says', async () => {
    const limit = { code: 'TOOMANYREQUESTS', message: 'You have reached your pull rate limit.' };
    const { download, registry } = await scene([{ status: 429, error: limit, headers: { 'retry-after': '21600' } }]);
    const error = await failure(download());
    expect(error).toMatchObject({
      code: 'rate_limited',
      registryCode: 'TOOMANYREQUESTS',
      retryAfterMs: 21_600_000,
      retryable: true,
    });
    expect(error.message).toContain('TOOMANYREQUESTS: You have reached your pull rate limit.');
    expect(registry.requests).toHaveLength(1);
  });
});

describe('registries that get ranges wrong', () => {
  test('the whole for a part: what is there is skipped', async () => {
    const { download, path, blob, ranges, registry } = await scene([
      { cutAfter: 1_234_567, times: 1 },
      { ignoreRange: true },
    ]);
    await download();
    await expectContents(path, blob);
    expect(ranges()).toEqual([undefined, 'bytes=1234567-']);
    expect(registry.requests[1]?.status).toBe(200);
  });

  test('another part than asked for: the whole is asked for next', async () => {
    const { download, path, blob, ranges } = await scene([{ cutAfter: 1_000_000, times: 1 }, { shiftRange: 5 }]);
    await download();
    await expectContents(path, blob);
    expect(ranges()).toEqual([undefined, 'bytes=1000000-', undefined]);
  });

  test('an earlier part than asked for: what is there is skipped', async () => {
    const { download, path, blob, registry } = await scene([{ cutAfter: 1_000_000, times: 1 }, { shiftRange: -7 }]);
    await download();
    await expectContents(path, blob);
    expect(registry.requests).toHaveLength(2);
  });

  test('a part that does not say which it is', async () => {
    const { download, path, blob, ranges } = await scene([
      { cutAfter: 1_000_000, times: 1 },
      { headers: { 'content-range': undefined } },
    ]);
    await download();
    await expectContents(path, blob);
    expect(ranges().at(-1)).toBeUndefined();
  });

  test('several parts for one (multipart/byteranges): the whole is asked for next', async () => {
    const { download, path, blob, ranges } = await scene([
      { cutAfter: 1_000_000, times: 1 },
      {
        headers: { 'content-range': undefined, 'content-type': 'multipart/byteranges; boundary=x' },
        body: '--x\r\ncontent-range: bytes 1000000-1000001/3000000\r\n\r\nab\r\n--x--',
        times: 1,
      },
    ]);
    await download();
    await expectContents(path, blob);
    expect(ranges()).toEqual([undefined, 'bytes=1000000-', undefined]);
  });

  test.each([undefined, `bytes 0-${SIZE - 1}/${SIZE}`, `bytes 0-${SIZE - 1}/*`])(
    '206 though no part was asked for, with Content-Range %j',
    async (range) => {
      const { download, path, blob, registry } = await scene([{ as: 206, headers: { 'content-range': range } }]);
      await download();
      await expectContents(path, blob);
      expect(registry.requests).toHaveLength(1);
    },
  );

  test('416: the whole is asked for next', async () => {
    const { download, path, blob, ranges } = await scene([
      { cutAfter: 1_000_000, times: 1 },
      { status: 416, times: 1 },
    ]);
    await download();
    await expectContents(path, blob);
    expect(ranges()).toEqual([undefined, 'bytes=1000000-', undefined]);
  });

  test('416 that states another size is an error', async () => {
    const { download } = await scene([
      { cutAfter: 1_000_000, times: 1 },
      { status: 416, headers: { 'content-range': 'bytes */999' } },
    ]);
    const error = await failure(download());
    expect(error).toMatchObject({ code: 'size_mismatch', retryable: false });
    expect(error.message).toContain(`has 999 bytes`);
  });
});

describe('registries that lie about lengths', () => {
  test.each<[string, Omit<Fault, 'path'>, string]>([
    ['a longer Content-Length', { headers: { 'content-length': String(SIZE + 1) } }, `has ${SIZE + 1} bytes`],
    ['a shorter Content-Length', { headers: { 'content-length': '17' }, body: Buffer.alloc(17) }, 'has 17 bytes'],
    ['more bytes than there should be', { append: Buffer.from('x') }, 'has more bytes'],
  ])('%s', async (_, fault, message) => {
    const { download, registry, descriptor } = await scene([fault]);
    const error = await failure(download());
    expect(error).toMatchObject({ code: 'size_mismatch', retryable: false });
    expect(error.message).toContain(message);
    expect(error.message).toContain(descriptor.digest);
    expect(registry.requests).toHaveLength(1);
  });

  test.each(['gzip', 'br', 'gzip, identity'])('compressed on its way, as %s', async (encoding) => {
    const body = Buffer.alloc(SIZE / 2);
    for (const length of [String(body.length), undefined]) {
      const { download, path } = await scene([
        { body, headers: { 'content-encoding': encoding, 'content-length': length } },
      ]);
      const error = await failure(download());
      expect(error).toMatchObject({ code: 'size_mismatch', retryable: false });
      expect(error.message).toContain(`with Content-Encoding "${encoding}", though it was asked for as it is stored`);
      expect((await contents(path)).length).toBe(0);
    }
  });

  test('a layer that is called compressed because it is', async () => {
    const { download, path, blob } = await scene([{ headers: { 'content-encoding': 'gzip' } }]);
    await download();
    await expectContents(path, blob);
  });

  test('a Content-Range of another blob', async () => {
    const { download } = await scene([
      { cutAfter: 100, times: 1 },
      { headers: { 'content-range': `bytes 100-${SIZE}/${SIZE + 1}` } },
    ]);
    expect(await failure(download())).toMatchObject({ code: 'size_mismatch' });
  });
});

describe('redirects', () => {
  test('an expired URL is asked for again at the registry', async () => {
    const { download, path, blob, registry } = await scene();
    const storage = await fixture.registry();
    storage.putBlob(blob);
    storage.plan({ path: '/blobs/', cutAfter: 1_000_000, times: 1 });
    storage.plan({ path: '/blobs/', status: 403, times: 1 });
    registry.plan({ path: '/blobs/', redirect: `${storage.url}{path}?signature=secret` });
    await download();
    await expectContents(path, blob);
    expect(registry.requests).toHaveLength(3);
    expect(storage.requests.map(({ status, range }) => [status, range])).toEqual([
      [200, undefined],
      [403, 'bytes=1000000-'],
      [206, 'bytes=1000000-'],
    ]);
  });

  test('a storage that refuses parts, whatever the URL, is asked for the whole', async () => {
    const { download, path, blob, registry } = await scene();
    const storage = await fixture.registry();
    storage.putBlob(blob);
    storage.plan({ path: '/blobs/', cutAfter: 1_000_000, times: 1 });
    storage.plan({ path: '/blobs/', status: 400, times: 2 });
    registry.plan({ path: '/blobs/', redirect: `${storage.url}{path}?signature=secret` });
    await download();
    await expectContents(path, blob);
    const part = 'bytes=1000000-';
    expect(storage.requests.map(({ range }) => range)).toEqual([undefined, part, part, undefined]);
  });

  test('one that sends parts between its refusals is asked for parts, though it breaks them off', async () => {
    const { download, path, blob, registry } = await scene();
    const storage = await fixture.registry();
    storage.putBlob(blob);
    storage.plan({ path: '/blobs/', status: 403, times: 2 });
    for (const fault of [{ cutAfter: 1_000_000 }, { status: 403 }, { cutAfter: 500_000 }, { status: 403 }])
      storage.plan({ path: '/blobs/', ...fault, times: 1 });
    registry.plan({ path: '/blobs/', redirect: `${storage.url}{path}?signature=secret` });
    await download();
    await expectContents(path, blob);
    const [first, second] = ['bytes=1000000-', 'bytes=1500000-'];
    const whole = [undefined, undefined, undefined];
    expect(storage.requests.map(({ range }) => range)).toEqual([...whole, first, first, second, second]);
  });

  test('a storage that keeps refusing is told by its path, without the signature', async () => {
    const { download, registry } = await scene();
    const storage = await fixture.registry();
    registry.plan({ path: '/blobs/', redirect: `${storage.url}/store{path}?signature=secret` });
    const error = await failure(download());
    expect(error).toMatchObject({ code: 'registry_error', status: 404, host: storage.host });
    expect(JSON.stringify([error.message, error.path])).not.toContain('secret');
  });

  test('to a server without TLS that is to have it: said so at once, with what an operator can do', async () => {
    const { download, registry } = await scene();
    const plain = await fixture.registry();
    registry.plan({ path: '/blobs/', redirect: `https://${plain.host}{path}` });
    const error = await failure(download());
    expect(error).toMatchObject({ code: 'registry_unreachable', retryable: false, host: plain.host });
    expect(error.message).toBe(
      `cannot reach ${plain.host}: what answers there does not speak TLS. If it is a registry with plain HTTP, an operator may allow that: BHATTI_INSECURE_REGISTRIES=${plain.host}, or insecure in registries.yaml`,
    );
    expect(registry.requests.filter(({ path }) => path.includes('/blobs/'))).toHaveLength(1);
  });

  test.each([
    ['in a circle', '{path}', 'redirects in a circle'],
    ['to no URL', 'http://[', 'redirects to an invalid URL'],
    ['to plain HTTP on another host', 'http://registry.invalid/blob', 'plain HTTP'],
    ['to another protocol', 'file:///etc/passwd', 'redirects to file:, which is not followed'],
  ])('%s', async (_, redirect, message) => {
    const { download } = await scene([{ redirect }]);
    const error = await failure(download());
    expect(error).toMatchObject({ code: 'registry_error', retryable: false });
    expect(error.message).toContain(message);
  });
});

describe('errors that no retry can help', () => {
  test('a missing blob', async () => {
    const { client, registry, path } = await scene();
    const descriptor = { mediaType: '', digest: `sha256:${'0'.repeat(64)}`, size: 5 };
    const error = await failure(client.download(parseReference(`${registry.host}/team/app`), descriptor, path));
    expect(error).toMatchObject({
      code: 'registry_error',
      registryCode: 'BLOB_UNKNOWN',
      status: 404,
      retryable: false,
    });
    expect(error.message).toContain('BLOB_UNKNOWN: blob unknown to registry');
    expect(registry.requests).toHaveLength(1);
  });

  test('a status that is no refusal and no content', async () => {
    const { download, path } = await scene([{ status: 203, times: 1 }]);
    expect(await failure(download())).toMatchObject({ code: 'registry_error', status: 203, retryable: false });
    await expectContents(path, Buffer.alloc(0));
  });

  test('a folder that is not there', async () => {
    const { client, registry, descriptor, path } = await scene();
    const error = await failure(client.download(parseReference(`${registry.host}/a`), descriptor, `${path}/no/file`));
    expect(error).toMatchObject({ code: 'internal' });
  });

  test('a full disk', async () => {
    const { client, registry, descriptor } = await scene();
    const error = await failure(client.download(parseReference(`${registry.host}/a`), descriptor, '/dev/full'));
    expect(error).toMatchObject({ code: 'no_space', retryable: false });
  });
});

describe('cancelling', () => {
  test('ends a download in the middle and keeps what came', async () => {
    const { download, path, blob, registry } = await scene([{ stallAfter: 1_000_000, times: 1 }]);
    const cancel = new AbortController();
    const reason = new Error('by hand');
    const error = await failure(
      download({ signal: cancel.signal, onBytes: (bytes) => bytes === 1_000_000 && cancel.abort(reason) }),
    );
    expect(error).toMatchObject({ code: 'cancelled', retryable: false, cause: reason });
    await expectContents(path, blob.subarray(0, 1_000_000));
    await download();
    await expectContents(path, blob);
    expect(registry.requests.at(-1)?.range).toBe('bytes=1000000-');
  });

  test('ends the pause between attempts', async () => {
    const registry = await fixture.registry();
    const descriptor = registry.putBlob(random(10));
    registry.plan({ path: '/blobs/', status: 503 });
    const cancel = new AbortController();
    const client = fixture.client({
      retry: { baseDelayMs: 3_600_000, maxDelayMs: 3_600_000 },
      onRetry: () => cancel.abort(),
    });
    const path = join(await fixture.directory(), 'blob');
    const reference = parseReference(`${registry.host}/a`);
    expect(await failure(client.download(reference, descriptor, path, { signal: cancel.signal }))).toMatchObject({
      code: 'cancelled',
    });
  });

  test('ends a request that waits for a connection', async () => {
    const registry = await fixture.registry();
    const descriptor = registry.putBlob(random(10));
    registry.plan({ path: '/blobs/', hang: true });
    const client = fixture.client({ connectionsPerHost: 1 });
    const directory = await fixture.directory();
    const reference = parseReference(`${registry.host}/a`);
    const first = new AbortController();
    const holder = failure(client.download(reference, descriptor, join(directory, '1'), { signal: first.signal }));
    while (registry.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const second = new AbortController();
    const waiter = failure(client.download(reference, descriptor, join(directory, '2'), { signal: second.signal }));
    setImmediate(() => second.abort());
    expect(await waiter).toMatchObject({ code: 'cancelled' });
    expect(registry.requests).toHaveLength(1);
    first.abort();
    expect(await holder).toMatchObject({ code: 'cancelled' });
  });

  test('before it starts', async () => {
    const { download, registry } = await scene();
    expect(await failure(download({ signal: AbortSignal.abort() }))).toMatchObject({ code: 'cancelled' });
    expect(registry.requests).toHaveLength(0);
  });
});
