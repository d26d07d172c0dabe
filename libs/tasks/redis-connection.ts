import { Redis } from 'ioredis';
import { parseRedisUrl } from './redis-url.ts';

/** Milliseconds after which a request of the API gives up on Redis. */
const requestTimeout = 3000;

/** Longest wait between attempts to reconnect, in ms: Redis is used again this soon after it is back. */
const longestReconnectDelay = 1000;

export interface ConnectRedisOptions {
  /**
   * `worker`: commands wait for Redis to come back, however long. `request`: commands fail within 3 s, so that the API
   * can answer 503. Not for blocking commands, BullMQ makes its own connections for those.
   */
  readonly use: 'worker' | 'request';
  /** Shown by `CLIENT LIST`. */
  readonly name?: string;
  /** Connection errors. ioredis reconnects by itself; without a listener it would print them. */
  readonly onError?: (error: Error) => void;
}

/**
 * Connects to Redis, in the background: resolve nothing, commands wait for the connection. Hand the instance to BullMQ
 * (`createTaskQueue`, `workerOptions`, `createTaskRelay`); end it with `disconnect()` after them.
 * Throws TaskError `invalid_request` for a URL that is none (forms: see `parseRedisUrl`).
 */
export function connectRedis(url: string, options: ConnectRedisOptions): Redis {
  const redis = new Redis({
    ...parseRedisUrl(url).options,
    ...(options.name === undefined ? {} : { connectionName: options.name }),
    ...(options.use === 'worker'
      ? { maxRetriesPerRequest: null }
      : { maxRetriesPerRequest: 1, commandTimeout: requestTimeout }),
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 10), longestReconnectDelay),
    // After a failover the old master answers READONLY for a while: look again who is master, then resend.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
  });
  redis.on('error', options.onError ?? (() => {}));
  return redis;
}
