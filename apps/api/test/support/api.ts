import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '@bhatti/logging';
import { openStore, type Store } from '@bhatti/store';
import type { TaskLimits } from '@bhatti/tasks';
import { Agent, request } from 'undici';
import * as z from 'zod';
import { startRedis, type TestRedis } from '../../../../test/support/redis.ts';
import type { PageRoute } from '../../page/pages.ts';
import type { Route } from '../../request/route.ts';
import { startApi } from '../../server.ts';
import { type Conforms, documented } from './conformance.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The parsed body; undefined when there is none. */
  readonly body: unknown;
  readonly text: string;
}

export interface Ask {
  readonly body?: unknown;
  /** Sent as it is, in place of `body`. */
  readonly raw?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export type Send = (method: string, path: string, ask?: Ask) => Promise<Answer>;

/** The API in this process, on a data directory of its own. */
export interface TestApi {
  readonly directory: string;
  readonly store: Store;
  readonly url: string;
  readonly socketPath: string;
  readonly token: string;
  /** Every route that it has. */
  readonly routes: readonly Route[];
  /** Every page, without the queue board. */
  readonly pages: readonly PageRoute[];
  /** Everything that was logged, at every level. */
  readonly log: () => string;
  /** Over the unix socket, trusted. */
  readonly send: Send;
  /** Over TCP, with no more than the headers given. */
  readonly sendTcp: Send;
  /** The same from another loopback address, such as 127.0.0.2: failures are counted by address. */
  readonly sendTcpFrom: (address: string) => Send;
  /** Stops the API; the data directory and the connections stay. */
  readonly stop: () => Promise<void>;
  /** Stops the API and removes its data directory. */
  readonly close: () => Promise<void>;
}

/** @param dataDirectory left out, one is made */
export async function startTestApi(
  redisUrl: string,
  limits: TaskLimits = { ofOwner: 1000, inAll: 1000 },
  env: NodeJS.ProcessEnv = { PATH: process.env.PATH },
  dataDirectory?: string,
): Promise<TestApi> {
  const directory = dataDirectory ?? (await mkdtemp(join(tmpdir(), 'bhatti-api-')));
  let lines = '';
  const write = (line: string) => {
    lines += line;
  };
  const log = createLogger({ name: 'api', level: 'trace', destination: { write } });
  const listen = { host: '127.0.0.1', port: 0, explicit: true };
  const config = { dataDirectory: directory, redisUrl, listen, limits, overlay: false, logLevel: 'trace' } as const;
  const api = await startApi(config, env, log);
  if (api.url === null) throw new Error('the API has no TCP listener');
  const unix = new Agent({ connect: { socketPath: api.socketPath } });
  const tcp = new Agent();
  const conforms = await documented(api.url, tcp);
  const agents = [unix, tcp];
  const origin = api.url;
  return {
    directory,
    store: await openStore(directory),
    url: api.url,
    routes: api.routes,
    pages: api.pages,
    socketPath: api.socketPath,
    token: (await readFile(join(directory, 'token'), 'utf8')).trim(),
    log: () => lines,
    send: sender('http://localhost', unix, conforms),
    sendTcp: sender(api.url, tcp, conforms),
    sendTcpFrom: (localAddress) => {
      const agent = new Agent({ localAddress });
      agents.push(agent);
      return sender(origin, agent, conforms);
    },
    stop: () => api.close(),
    close: async () => {
      await Promise.all(agents.map((agent) => agent.destroy()));
      await api.close();
      // A root filesystem without a name may still be being removed.
      if (dataDirectory === undefined) await rm(directory, { recursive: true, maxRetries: 10 });
    },
  };
}

/** The API and a Redis of its own; `close` ends both. */
export interface TestStack extends TestApi {
  readonly redis: TestRedis;
}

export async function startTestStack(): Promise<TestStack> {
  const redis = await startRedis();
  const api = await startTestApi(redis.url);
  const close = async () => {
    await api.close();
    await redis.stop();
  };
  return { ...api, redis, close };
}

function sender(origin: string, dispatcher: Agent, conforms: Conforms): Send {
  return async (method, path, { body, raw, headers, signal } = {}) => {
    const response = await request(`${origin}${path}`, {
      dispatcher,
      method,
      headers: { ...headers },
      body: raw ?? (body === undefined ? null : JSON.stringify(body)),
      signal: signal ?? null,
    });
    const text = await response.body.text();
    const isJson = String(response.headers['content-type']).startsWith('application/json');
    const answer = {
      status: response.statusCode,
      headers: response.headers,
      text,
      body: isJson && text !== '' ? JSON.parse(text) : undefined,
    };
    conforms(method, path, answer);
    return answer;
  };
}

/** The body of every error. */
export const errorBody = z.strictObject({ error: z.string().min(1), code: z.string(), request_id: z.string() });

const queuedBody = z.strictObject({ task_id: z.string(), status: z.literal('queued'), name: z.string() });

/** Posts a pull that must be queued, and returns the id of its task. */
export async function queuePull(send: Send, body: object): Promise<string> {
  const answer = await send('POST', '/images/pull', { body });
  if (answer.status !== 202) throw new Error(`not queued: ${answer.status} ${answer.text}`);
  return queuedBody.parse(answer.body).task_id;
}
