import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { RecentlyTold } from '@bhatti/logging';
import type { RedisClient } from '@bhatti/tasks';
import {
  checkRedisServer,
  connectRedis,
  createTaskQueue,
  createTaskRelay,
  KEY_PREFIX,
  QUEUE_NAME,
  type TaskQueue,
} from '@bhatti/tasks';
import { QueueEvents, type Relay, type Telemetry } from 'bullmq';
import type { Logger } from 'pino';
import { redisUnavailable } from '../request/errors.ts';
import { isRedisFailure } from './redis-failure.ts';

/** How long a request waits for Redis in all before it fails with 503. */
const requestDeadlineMilliseconds = 4_000;
const retryMilliseconds = 1_000;
/** How long one read of the event stream blocks. A read that is lost with its connection is abandoned after about as long. */
const eventReadMilliseconds = 2_000;
const pingMilliseconds = 1_000;
const closeMilliseconds = 1_000;

/** The events of a job that may change what a client sees of its task. */
const taskEvents = ['waiting', 'delayed', 'active', 'progress', 'stalled', 'completed', 'failed', 'removed'] as const;

/** What can be used once Redis has answered. */
export interface QueueAccess {
  readonly queue: TaskQueue;
  readonly relay: Relay;
  /** For keys beside those of the queue. */
  readonly redis: RedisClient;
}

interface Opened extends QueueAccess {
  readonly events: QueueEvents;
}

interface Closable {
  close(): Promise<void>;
}

export interface RedisSessionOptions {
  readonly url: string;
  readonly log: Logger;
  readonly telemetry?: Telemetry | undefined;
  /** A task may have changed. */
  readonly onTask: (id: string) => void;
  /** Redis is connected (again): events may have been missed meanwhile. */
  readonly onConnected: () => void;
}

/**
 * The connections to Redis of one API process. It opens by itself, now or whenever Redis appears, and survives its
 * absence; `use` answers 503 meanwhile. BullMQ's classes are made only once Redis has answered: one whose very first
 * commands fail (Redis dying while it starts) stays broken for ever.
 */
export class RedisSession {
  readonly #options: RedisSessionOptions;
  /** Fails soon when Redis is away: what requests use. */
  readonly #requests: RedisClient;
  /** Waits for Redis as long as it takes: what BullMQ's reading loops copy. */
  readonly #background: RedisClient;
  readonly #stopped = new AbortController();
  readonly #opening: Promise<void>;
  /** Aborted once it is known that Redis cannot be used now. */
  readonly #away = new AbortController();
  #access: Opened | undefined;
  #lossLogged = false;

  /** Throws TaskError `invalid_request` for an invalid URL. */
  constructor(options: RedisSessionOptions) {
    this.#options = options;
    this.#requests = connectRedis(options.url, {
      use: 'request',
      name: 'bhatti-api',
      onError: (error) => this.#connectionLost(error),
    });
    this.#background = connectRedis(options.url, { use: 'worker', name: 'bhatti-api-events' });
    this.#requests.on('ready', () => {
      this.#lossLogged = false;
      options.log.info('connected to Redis');
      options.onConnected();
    });
    this.#opening = this.#open();
  }

  /** Resolves when the queue is open, Redis turns out to be away, the time is over, or `signal` aborts. */
  async opened(milliseconds: number, signal?: AbortSignal): Promise<void> {
    const over = AbortSignal.any(signal === undefined ? [this.#away.signal] : [this.#away.signal, signal]);
    const away = new Promise<void>((resolve) => {
      if (over.aborted) resolve();
      else over.addEventListener('abort', () => resolve(), { once: true });
    });
    await endWithin(milliseconds, Promise.race([this.#opening, away]));
  }

  /** Runs commands. Throws ApiError 503 when Redis is away, or does not answer in time. */
  async use<Result>(commands: (access: QueueAccess) => Promise<Result>): Promise<Result> {
    const access = this.#access;
    if (access === undefined || this.#requests.status !== 'ready') throw redisUnavailable();
    let timer: NodeJS.Timeout | undefined;
    // A bare timer: one of node:timers/promises has to be aborted, which makes an error with a stack each time.
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(redisUnavailable()), requestDeadlineMilliseconds);
    });
    try {
      return await Promise.race([commands(access), late]);
    } catch (error) {
      throw isRedisFailure(error) ? redisUnavailable(error) : error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Whether Redis answers within a second. */
  async reachable(): Promise<boolean> {
    if (this.#access === undefined || this.#requests.status !== 'ready') return false;
    let answered = false;
    const ping = this.#requests.ping().then(() => {
      answered = true;
    });
    await endWithin(pingMilliseconds, ping);
    return answered;
  }

  /** Ends everything within a second or two, also when Redis is away. */
  async close(): Promise<void> {
    this.#stopped.abort();
    const access = this.#access;
    this.#access = undefined;
    if (access !== undefined) await closeAll([access.queue, access.relay, access.events]);
    this.#requests.disconnect();
    this.#background.disconnect();
    await endWithin(closeMilliseconds, this.#opening);
  }

  async #open(): Promise<void> {
    const told = new RecentlyTold();
    while (!this.#stopped.signal.aborted) {
      try {
        this.#access = await this.#connect();
        return;
      } catch (error) {
        if (this.#stopped.signal.aborted) return;
        this.#away.abort();
        if (told.isDue(String(error))) {
          this.#options.log.error({ err: error }, 'the task queue in Redis cannot be opened; trying again');
        }
        await sleep(retryMilliseconds, undefined, { signal: this.#stopped.signal }).catch(() => {});
      }
    }
  }

  async #connect(): Promise<Opened> {
    const made: Closable[] = [];
    try {
      const { warnings } = await checkRedisServer(this.#requests);
      for (const warning of warnings) this.#options.log.warn(warning);
      const queue = createTaskQueue(this.#requests, this.#options.telemetry);
      made.push(queue);
      await queue.waitUntilReady();
      const relay = createTaskRelay(this.#background, `api ${hostname()}:${process.pid}`);
      made.push(relay);
      await relay.waitUntilReady();
      const events = this.#listen();
      made.push(events);
      await events.waitUntilReady();
      this.#stopped.signal.throwIfAborted();
      return { queue, relay, events, redis: this.#requests };
    } catch (error) {
      await closeAll(made);
      throw error;
    }
  }

  #listen(): QueueEvents {
    const options = { connection: this.#background, prefix: KEY_PREFIX, blockingTimeout: eventReadMilliseconds };
    const events = new QueueEvents(QUEUE_NAME, options);
    events.on('error', (error) => this.#options.log.debug({ err: error }, 'queue events'));
    const changed = ({ jobId }: { jobId: string }) => this.#options.onTask(jobId);
    for (const event of taskEvents) events.on(event, changed);
    return events;
  }

  /** ioredis retries every second; the loss is logged once. */
  #connectionLost(error: Error): void {
    this.#away.abort();
    if (this.#lossLogged) return;
    this.#lossLogged = true;
    this.#options.log.warn({ err: error }, 'Redis is away; tasks answer 503 until it is back');
  }
}

async function closeAll(parts: readonly Closable[]): Promise<void> {
  await endWithin(closeMilliseconds, Promise.allSettled(parts.map((part) => part.close())));
}

/** Waits for the work to settle, either way, but no longer than `milliseconds`. */
async function endWithin(milliseconds: number, work: Promise<unknown>): Promise<void> {
  const ended = new AbortController();
  const settled = work.then(
    () => {},
    () => {},
  );
  await Promise.race([settled, sleep(milliseconds, undefined, { signal: ended.signal }).catch(() => {})]);
  ended.abort();
}
