/** Uploads that come slowly, or stop: a clock that the test sets says how long that takes. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { openStore, type Store } from '@bhatti/store';
import { createTaskId } from '@bhatti/tasks';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { receiveUpload } from '../images/upload.ts';
import { ApiError } from '../request/errors.ts';

const MINUTE = 60_000;

let directory: string;
let store: Store;
let body: PassThrough;
let leave: AbortController;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-upload-'));
  store = await openStore(directory);
  body = new PassThrough();
  leave = new AbortController();
});
afterEach(() => rm(directory, { recursive: true }));

function receive(checkHead: (head: Uint8Array) => void = () => undefined): Promise<number> {
  const id = createTaskId();
  const arriving = async () => undefined;
  return receiveUpload({ uploads: store.uploads, id, body, checkHead, signal: leave.signal, arriving });
}

/** Sends a byte, and waits until it was read. */
async function send(): Promise<void> {
  body.write('x');
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  while (body.readableLength > 0) await turn();
  await turn();
}

test('an upload takes as long as it likes while something comes, and is given up when nothing does', async () => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance', 'Date'] });
  try {
    const upload = receive();
    for (let minutes = 0; minutes < 12; minutes += 4) {
      await send();
      jest.advanceTimersByTime(4 * MINUTE);
    }
    body.end();
    expect(await upload).toBe(3);
    body = new PassThrough();
    const given = receive();
    await send();
    jest.advanceTimersByTime(5 * MINUTE);
    await expect(given).rejects.toMatchObject({ status: 400, message: expect.stringContaining('broke off') });
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
});

test.each(['before', 'while'])('one whose client goes %s it comes is refused, and nothing of it kept', async (when) => {
  if (when === 'before') leave.abort();
  const upload = receive();
  if (when === 'while') await send();
  if (when === 'while') leave.abort();
  await expect(upload).rejects.toMatchObject({ status: 400, code: 'invalid_request' });
  expect(await store.uploads.list()).toEqual([]);
});

test('one that ends before there is enough to tell what it is, is refused by what there is', async () => {
  const heads: string[] = [];
  const upload = receive((head) => {
    heads.push(Buffer.from(head).toString());
    throw new ApiError(400, 'invalid_request', 'this is no archive');
  });
  body.end('PK');
  await expect(upload).rejects.toMatchObject({ status: 400, code: 'invalid_request' });
  expect(heads).toEqual(['PK']);
  expect(await store.uploads.list()).toEqual([]);
});
