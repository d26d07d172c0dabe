/**
 * `npm run bench:api`: the API under load, on one processor, with autocannon as the load generator.
 *
 *   npm run bench:api -- [--seconds 15] [--watchers 500] [--connections 50]
 *
 * 2,000 `GET /tasks/:id` a second, then as many as it can answer; 500 enqueues a second; 500 clients that watch a task each while it
 * answers 2,000 more, and then see it cancelled; and the list of a long queue. Redis and the API are processes of their own, on a
 * data directory that is removed afterwards. No worker runs, so that only the API is measured.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import autocannon, { type Options, type Result } from 'autocannon';
import { Agent, request } from 'undici';
import * as z from 'zod';

const root = fileURLToPath(new URL('..', import.meta.url));

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '15' },
    watchers: { type: 'string', default: '500' },
    connections: { type: 'string', default: '50' },
  },
});
const seconds = z.coerce.number().int().min(1).parse(values.seconds);
const watchers = z.coerce.number().int().min(1).parse(values.watchers);
/** autocannon sends the requests of each second at once: more connections make longer queues, not more requests. */
const connections = z.coerce.number().int().min(1).parse(values.connections);

const apiRecord = z.object({ listen: z.string() });
const adminStatus = z.object({ queue: z.object({ waiting: z.number() }) });
const queued = z.object({ task_id: z.string() });
interface Api {
  readonly url: string;
  readonly token: string;
  readonly pid: number;
}

/** Makes each pull different, as identical ones are one task. */
let pulls = 0;
const pull: Options['requests'] = [
  {
    method: 'POST',
    path: '/images/pull',
    setupRequest: (one) => {
      pulls += 1;
      return { ...one, body: JSON.stringify({ ref: `127.0.0.1:1/bench/app:${pulls}` }) };
    },
  },
];

// The load generator and Redis run on the other processor, so that they take nothing from the API's.
execFileSync('taskset', ['-pc', '1', String(process.pid)]);
const directory = await mkdtemp(join(tmpdir(), 'bhatti-bench-api-'));
const children: ChildProcess[] = [];
try {
  console.log(
    `${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}; ${seconds} s each, ${connections} connections`,
  );
  await measure(await startApi());
} finally {
  for (const child of children.reverse()) {
    if (child.exitCode !== null) continue;
    child.kill();
    await once(child, 'exit');
  }
  await rm(directory, { recursive: true, force: true });
}

async function measure(api: Api): Promise<void> {
  const agent = new Agent({ connections: null });
  const headers = { authorization: `Bearer ${api.token}` };
  const enqueue = async (tag: string) => {
    const body = JSON.stringify({ ref: `127.0.0.1:1/bench/app:${tag}` });
    const answer = await request(`${api.url}/images/pull`, { dispatcher: agent, method: 'POST', headers, body });
    return queued.parse(await answer.body.json()).task_id;
  };
  const task = { url: `${api.url}/tasks/${await enqueue('one')}` };
  // Compiled and warm, as a server is.
  await load(api, { ...task, duration: 3 });
  report('GET /tasks/:id, 2000/s asked', await load(api, { ...task, overallRate: 2000 }));
  report('GET /tasks/:id, all it can', await load(api, task));
  report('POST /images/pull, 500/s asked', await load(api, { requests: pull, overallRate: 500 }));
  report('POST /images/pull, all it can', await load(api, { requests: pull, duration: 5 }));

  const ids = await Promise.all(Array.from({ length: watchers }, (_, index) => enqueue(`watched-${index}`)));
  const ended = ids.map((id) => watch(`${api.url}/tasks/${id}/events`, headers, agent));
  await Promise.all(ended.map(({ begun }) => begun));
  report(`GET /tasks/:id, 2000/s asked, ${watchers} watchers`, await load(api, { ...task, overallRate: 2000 }));
  const list = { url: `${api.url}/tasks?limit=20`, duration: 5, connections: 5 };
  report(`GET /tasks?limit=20, all it can, ${await queueLength(api, agent)} tasks queued`, await load(api, list));
  const cancelled = performance.now();
  await Promise.all(
    ids.map(async (id) => {
      const answer = await request(`${api.url}/tasks/${id}`, { dispatcher: agent, method: 'DELETE', headers });
      await answer.body.dump();
    }),
  );
  const told = await Promise.all(ended.map(({ end }) => end));
  console.log(
    `${watchers} watchers: all cancelled and told within ${Math.round(Math.max(...told) - cancelled)} ms, resident ${await residentMegabytes(api.pid)} MB`,
  );
  await agent.destroy();
}

async function queueLength(api: Api, dispatcher: Agent): Promise<number> {
  const headers = { authorization: `Bearer ${api.token}` };
  const { body } = await request(`${api.url}/admin/status`, { dispatcher, headers });
  return adminStatus.parse(await body.json()).queue.waiting;
}

/** `begun` resolves with the first event, `end` with the time (ms) at which the server ended the stream after "cancelled". */
function watch(url: string, headers: Record<string, string>, dispatcher: Agent) {
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const end = (async () => {
    const { body } = await request(url, { dispatcher, headers });
    let text = '';
    for await (const chunk of body) {
      text += String(chunk);
      begin();
    }
    if (!text.includes('"status":"cancelled"')) throw new Error(`a watcher was not told the end: ${text}`);
    return performance.now();
  })();
  return { begun: Promise.race([begun, end.then(() => {})]), end };
}

/**
 * autocannon sends the requests of each second as fast as the connections take them, and then rests. Its correction for
 * coordinated omission assumes one request a ms on each connection, so it is switched off.
 */
async function load(api: Api, options: Partial<Options>): Promise<Result> {
  return autocannon({
    ...(options.overallRate === undefined ? {} : { ignoreCoordinatedOmission: true }),
    url: api.url,
    connections,
    duration: seconds,
    headers: { authorization: `Bearer ${api.token}` },
    ...options,
  });
}

function report(what: string, { requests, latency, errors, non2xx }: Result): void {
  const bad = errors + non2xx;
  console.log(
    `${what}: ${Math.round(requests.average)}/s; ms p50 ${latency.p50}, p97.5 ${latency.p97_5}, p99 ${latency.p99}, max ${latency.max}${bad === 0 ? '' : `; ${bad} FAILED`}`,
  );
}

/** Starts the API pinned to one processor, with all threads that Node starts. */
async function startApi(): Promise<Api> {
  const data = join(directory, 'data');
  await mkdir(data);
  const socket = join(directory, 'redis.sock');
  start('redis-server', [
    '--port',
    '0',
    '--unixsocket',
    socket,
    '--dir',
    directory,
    '--save',
    '',
    '--appendonly',
    'yes',
  ]);
  const environment = {
    PATH: process.env.PATH,
    BHATTI_DATA_DIR: data,
    BHATTI_LISTEN: '127.0.0.1:0',
    REDIS_URL: socket,
    BHATTI_MAX_TASKS: '1000000',
    BHATTI_MAX_TASKS_PER_OWNER: '1000000',
  };
  const child = start('taskset', ['-c', '0', process.execPath, join(root, 'dist/api.js')], environment);
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the API ended with ${child.exitCode}`);
    const record = await readFile(join(data, 'run/api.json'), 'utf8').catch(() => '');
    if (record !== '') {
      const { listen } = apiRecord.parse(JSON.parse(record));
      const health = await request(`${listen}/health`).then(({ body }) => body.text());
      if (health.includes('"redis":"ok"')) {
        return { url: listen, token: (await readFile(join(data, 'token'), 'utf8')).trim(), pid: child.pid ?? 0 };
      }
    }
    await sleep(50);
  }
}

function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
  const child = spawn(command, args, { cwd: directory, env, stdio: ['ignore', 'ignore', 'ignore'] });
  children.push(child);
  return child;
}

async function residentMegabytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
}
