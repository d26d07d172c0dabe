import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { ApiClient } from '../server/api-client.ts';
import type { Task } from '../server/api-schema.ts';
import { followTask } from '../task-follower.ts';
import { type Answer, type Call, events, type Handler, serveAnswers } from './http-server.ts';

/** The end of a task is seen whatever lies between: a real server makes every fault here. */
let close = async () => {};
afterEach(async () => {
  await close();
  jest.restoreAllMocks();
});

const state = (line: string, status = 'running') => ({
  id: 'tsk_a',
  type: 'pull',
  status,
  name: 'a',
  ref: 'a',
  progress: line,
  detail: null,
  result: null,
  error: null,
  created_at: null,
  started_at: null,
  completed_at: null,
});
const one = state('one');
const two = state('two');
const end = state('end', 'completed');

/** Ms that even a busy machine does not take; tests of silence set their own. */
const long = 30_000;

/** Follows a task. Resolves with the lines that were shown and the requests that were made. */
async function follow(handler: Handler, { firstEvent = long, silence = long } = {}) {
  const server = await serveAnswers(handler);
  const client = new ApiClient({ kind: 'url', url: new URL(`http://127.0.0.1:${server.port}`), token: 't' });
  close = async () => {
    client.close();
    await server.close();
  };
  const shown: string[] = [];
  const onTask = (task: Task) => shown.push(task.progress ?? '');
  const outcome = await followTask(client, 'tsk_a', onTask, { firstEvent, silence });
  const asked = server.calls.map(({ url }) => url.pathname.replace('/tasks/tsk_a', '') + url.search);
  return { shown, asked, status: outcome.status };
}

/** Answers each request for events with the next answer, the last one for good, and polls with the end. */
function answering(...streams: Handler[]): Handler {
  const left = [...streams];
  return (call: Call) => {
    if (!call.url.pathname.endsWith('/events')) return { status: 200, body: end };
    return (left.length > 1 ? left.shift() : left[0])?.(call) ?? { status: 500, body: 'no answer is left' };
  };
}

const polled = (...shown: string[]) => ({
  shown: [...shown, 'end'],
  asked: ['/events', shown.length === 0 ? '' : `?wait=2&seen=${shown.at(-1)}`],
  status: 'completed',
});

/** A response that never ends. */
async function write(response: ServerResponse, ...pieces: string[]): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const piece of pieces) response.write(piece);
  await once(response, 'close');
}
const event = (task: unknown) => `event: task\ndata: ${JSON.stringify(task)}\n\n`;

describe('following a task', () => {
  test('shows every event to the end, however it is cut into pieces', async () => {
    const pieces = async (response: ServerResponse) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const text = `: hello\n\n${event(one)}event: other\ndata: {}\n\n${event(two).replaceAll('\n', '\r\n')}${event(end)}`;
      for (let at = 0; at < text.length; at += 37) {
        response.write(text.slice(at, at + 37));
        await sleep(1);
      }
      response.end();
    };
    expect(await follow(answering(() => pieces))).toEqual({
      shown: ['one', 'two', 'end'],
      asked: ['/events'],
      status: 'completed',
    });
  });

  const unusable: [string, Answer][] = [
    ['a server without events', { status: 404, body: { error: 'there is no such route', code: 'not_found' } }],
    ['a proxy that allows no streams', { status: 406, body: '<html>no</html>', type: 'text/html' }],
    ['a proxy that answers by itself', { status: 200, body: '<html>hi</html>', type: 'text/html' }],
    ['a gateway that gave up', { status: 504, body: 'timeout', type: 'text/plain' }],
    ['a server of another kind', { status: 200, body: 'event: task\ndata: {"a":1}\n\n', type: 'text/event-stream' }],
    ['a stream that ends at once', { status: 200, body: '', type: 'text/event-stream' }],
  ];
  test.each(unusable)('%s is polled', async (_what, answer) => {
    expect(await follow(answering(() => answer))).toEqual(polled());
  });

  test('a proxy that keeps the events back is polled', async () => {
    const patience = { firstEvent: 200 };
    expect(
      await follow(
        answering(() => (response) => write(response)),
        patience,
      ),
    ).toEqual(polled());
    await close();
    expect(
      await follow(
        answering(() => () => new Promise(() => {})),
        patience,
      ),
    ).toEqual(polled());
  });

  test('a stream that goes silent is polled', async () => {
    const silent = answering(() => (response) => write(response, event(one)));
    expect(await follow(silent, { silence: 400 })).toEqual(polled('one'));
  });

  test('comments are no silence', async () => {
    const commented = async (response: ServerResponse) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(event(one));
      for (let count = 0; count < 15; count += 1) {
        await sleep(100);
        response.write(': nothing new\n\n');
      }
      response.end(event(end));
    };
    expect(
      (
        await follow(
          answering(() => commented),
          { firstEvent: 1000, silence: 1000 },
        )
      ).asked,
    ).toEqual(['/events']);
  });

  test('a stream that breaks, in the middle of an event too, is opened again', async () => {
    const broken = (response: ServerResponse) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(event(one) + event(two).slice(0, 30), () => response.socket?.resetAndDestroy());
    };
    expect(
      await follow(
        answering(
          () => broken,
          () => events([one, end]),
        ),
      ),
    ).toEqual({
      shown: ['one', 'one', 'end'],
      asked: ['/events', '/events'],
      status: 'completed',
    });
  });

  test('a server that stops and starts is found again', async () => {
    expect(
      await follow(
        answering(
          () => events([one]),
          () => events([two, end]),
        ),
      ),
    ).toMatchObject({
      shown: ['one', 'two', 'end'],
    });
  });

  test('a server that is away for less than a minute is waited for each time, and one that stays away is told', async () => {
    const none: Answer = { status: 404, body: { error: 'there is no such route', code: 'not_found' } };
    const away = (status: number): Answer => ({ status, body: 'away', type: 'text/plain' });
    const good = (body: unknown): Answer => ({ status: 200, body });
    /** What polls are answered. While the server is away, 40 s pass with each. */
    const polls = [away(502), away(504), good(one), away(503), good(two), away(502), away(502), away(502)];
    let now = 0;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
    let asked = 0;
    const handler: Handler = ({ url }) => {
      if (url.pathname.endsWith('/events')) return none;
      const answer = polls[asked++] ?? good(end);
      if (answer.status !== 200) now += 40_000;
      return answer;
    };
    await expect(follow(handler)).rejects.toMatchObject({ code: 'server_unreachable' });
    expect(asked).toBe(polls.length);
  });

  test('a task that is not there, and a token that is refused, are told', async () => {
    const none = { status: 404, body: { error: 'there is no such task', code: 'not_found' } };
    await expect(follow(() => none)).rejects.toMatchObject({ status: 404, message: 'there is no such task' });
    await close();
    await expect(follow(() => ({ status: 401, body: {} }))).rejects.toMatchObject({ code: 'unauthorized' });
  });
});
