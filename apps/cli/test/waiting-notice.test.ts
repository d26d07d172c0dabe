import { setTimeout } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import { ApiClient } from '../server/api-client.ts';
import { WaitingNotice } from '../waiting-notice.ts';
import { type Answer, serveAnswers, type WrittenAnswer } from './http-server.ts';

const noWorker = 'no worker is connected: tasks wait until one is started';
const readiness = (checks: unknown, status = 503): Answer => ({ status, body: { status: 'not_ready', checks } });
const waiting = readiness({ redis: { ok: true, reason: 'not told' }, worker: { ok: false, reason: noWorker } });
const ready = readiness({ worker: { ok: true } }, 200);

/** The events of the task, which are followed at the same time. */
const neverEnding: WrittenAnswer = (response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(': nothing yet\n\n');
};

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** A client of a server that gives these answers, the last for good. `answered(n)` resolves once the n-th answer has been dealt with. */
async function clientOf(...answers: Answer[]) {
  let asked = 0;
  const waiters = new Map<number, () => void>();
  const server = await serveAnswers(({ url }) => {
    if (url.pathname === '/tasks/tsk_a/events') return neverEnding;
    const answer = answers[Math.min(asked, answers.length - 1)] ?? ready;
    asked += 1;
    waiters.get(asked)?.();
    return answer;
  });
  const client = new ApiClient({ kind: 'url', url: new URL(`http://127.0.0.1:${server.port}`), token: 't' });
  closers.push(
    () => client.close(),
    () => server.close(),
  );
  // A question follows the answer before it.
  const answered = (count: number) => new Promise<void>((resolve) => waiters.set(count + 1, resolve));
  const readyCalls = () => server.calls.filter(({ url }) => url.pathname === '/ready').length;
  return { client, answered, readyCalls };
}

type SeenTask = Parameters<WaitingNotice['see']>[0];
const queued: SeenTask = { status: 'queued', progress: null, detail: null };
const running: SeenTask = { status: 'running', progress: 'downloading layers: 1 of 2', detail: null };

/** What a user is told whose task stays like this while the server gives these answers. */
async function toldWaiting(task: SeenTask, ...answers: Answer[]) {
  const { client, answered } = await clientOf(...answers);
  const following = new AbortController();
  const followed = client
    .taskEvents('tsk_a', { signal: following.signal, silence: 30_000 })
    [Symbol.asyncIterator]()
    .next();
  let told = '';
  const err = (text: string) => {
    told += text;
  };
  const notice = new WaitingNotice(client, { err }, { queued: 1, running: 1, later: 1 });
  const all = answered(answers.length);
  notice.see(task);
  notice.see({ ...task });
  await all;
  notice.close();
  following.abort();
  await expect(followed).rejects.toMatchObject({ name: 'UnreachableError' });
  return told;
}

test('a task that stays queued is told why, each reason once', async () => {
  const full = readiness({
    redis: { ok: false, reason: 'Redis takes no tasks (MISCONF)' },
    worker: { ok: false, reason: 'unknown while Redis is away' },
    data_dir: { ok: false, reason: 'full \u001b[31m(ENOSPC)' },
  });
  const told = await toldWaiting(queued, ready, waiting, waiting, full, ready);
  expect(told.split('\n')).toEqual([
    `warning: still waiting: ${noWorker}`,
    'warning: still waiting: Redis takes no tasks (MISCONF)',
    'warning: still waiting: full \\u001b[31m(ENOSPC)',
    '',
  ]);
});

test('a running task that does not get on is told why; any news of it makes the wait begin anew, and its end ends it', async () => {
  const refusing = readiness({ redis: { ok: false, reason: 'Redis takes no tasks (OOM)' } });
  expect(await toldWaiting(running, ready, refusing, refusing)).toBe(
    'warning: still waiting: Redis takes no tasks (OOM)\n',
  );

  const { client, readyCalls } = await clientOf(refusing);
  const notice = new WaitingNotice(client, { err: () => {} }, { queued: 1, running: 1, later: 1 });
  notice.see(running);
  notice.see({ status: 'completed', progress: null, detail: null });
  notice.see(queued);
  notice.see({ status: 'failed', progress: null, detail: null });
  await setTimeout(20);
  expect(readyCalls()).toBe(0);
});

test('an answer that comes once the task runs is not told, and no other is asked for', async () => {
  const { client, readyCalls } = await clientOf(waiting);
  let told = '';
  const dealtWith = new Promise<void>((resolve) => {
    const readiness = async (timeout: number) => {
      const answer = await client.readiness(timeout);
      notice.see(running);
      setImmediate(resolve);
      return answer;
    };
    const err = (text: string) => {
      told += text;
    };
    const notice = new WaitingNotice({ readiness }, { err }, { queued: 1, running: 60_000, later: 0 });
    closers.push(() => notice.close());
    notice.see(queued);
  });
  await dealtWith;
  expect([told, readyCalls()]).toEqual(['', 1]);
});

test.each<[string, Answer]>([
  ['a server without /ready', { status: 404, body: { error: 'there is no such route', code: 'not_found' } }],
  ['a gateway in its place', { status: 503, body: 'away', type: 'text/html' }],
  ['a server that wants a token', { status: 401, body: {} }],
])('%s is no reason to say anything', async (_what, answer) => {
  const told = await toldWaiting(queued, answer, answer, waiting);
  expect(told).toBe(`warning: still waiting: ${noWorker}\n`);
});
