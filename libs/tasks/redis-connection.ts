import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { endingConnection } from './ending-connection.ts';
import { TaskError } from './error.ts';
import { refusalOf } from './redis-greeting.ts';
import { type ClusterNode, parseRedisUrl } from './redis-url.ts';

/** Milliseconds after which a request of the API gives up on Redis. */
const requestTimeout = 3000;

/** Longest wait between attempts to reconnect, in ms: Redis is used again this soon after it is back. */
const longestReconnectDelay = 1000;

/** Ms between looks for the node that has a slot, and how often: a worker looks for an hour, a request for 2 s. */
const redirectionDelay = 200;
const workerRedirections = 18_000;
const requestRedirections = 10;

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

/** A connection to one server (also one that Sentinel names), or to a Cluster. */
export type RedisClient = Redis | Cluster;

/**
 * Connects to Redis, in the background: nothing needs to be waited for, commands wait for the connection. Hand the instance to BullMQ
 * (`createTaskQueue`, `workerOptions`, `createTaskRelay`); end it with `disconnect()` after them.
 * Throws TaskError `invalid_request` for a URL that is none (forms: see `parseRedisUrl`).
 */
export function connectRedis(url: string, options: ConnectRedisOptions): RedisClient {
  const { options: address, clusterNodes } = parseRedisUrl(url);
  const settings: RedisOptions = {
    ...address,
    ...(options.name === undefined ? {} : { connectionName: options.name }),
    ...(options.use === 'worker'
      ? { maxRetriesPerRequest: null }
      : { maxRetriesPerRequest: 1, commandTimeout: requestTimeout }),
  };
  const onError = options.onError ?? (() => {});
  if (clusterNodes !== undefined) return cluster(clusterNodes, settings, options).on('error', onError);
  return single(settings).on('error', async (error) => {
    const refused = await refusalOf(settings);
    onError(
      refused === undefined ? error : new TaskError('redis_unavailable', refused, { retryable: true, cause: error }),
    );
  });
}

function single(settings: RedisOptions): Redis {
  const redis = new Redis({
    ...settings,
    retryStrategy: reconnectDelay,
    // After a failover the old master answers READONLY for a while: look again who is master, then resend.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
  });
  return endingConnection(redis);
}

/** Commands are sent again where a slot has moved to, or while its master is chosen: a worker's until it is, about. */
function cluster(nodes: readonly ClusterNode[], redisOptions: RedisOptions, { use }: ConnectRedisOptions): Cluster {
  return new Cluster([...nodes], {
    redisOptions,
    clusterRetryStrategy: reconnectDelay,
    maxRedirections: use === 'worker' ? workerRedirections : requestRedirections,
    retryDelayOnFailover: redirectionDelay,
    retryDelayOnClusterDown: redirectionDelay,
    slotsRefreshTimeout: requestTimeout,
  });
}

function reconnectDelay(times: number): number {
  return Math.min(50 * 2 ** Math.min(times, 10), longestReconnectDelay);
}
