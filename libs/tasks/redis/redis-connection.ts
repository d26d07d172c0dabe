import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { TaskError } from '../error.ts';
import { mendedConnection } from './mended-connection.ts';
import { refusalInGreeting } from './redis-greeting.ts';
import { type ClusterNode, parseRedisUrl } from './redis-url.ts';

/** Milliseconds after which a request of the API gives up on Redis. */
const requestTimeout = 3000;

/**
 * Ms without any answer to a command after which a connection counts as broken, and is made anew. A host that dies, or is cut off, closes
 * no connection, and a server that hangs answers none: without this, we would not look for the master that has replaced it. A worker's
 * also block, for 10 s at most.
 */
const longestSilence = { worker: 12_000, request: 5_000 } as const;

/** A replica's refusal of a write: of a command, or by Redis 6.2, in the middle of what it says of a script that sent one. */
const IS_REPLICA = /\bREADONLY You can't write\b/;

/** Longest pause between attempts to reconnect, in ms: Redis is used again this soon after it is back. */
const longestReconnectDelay = 1000;

/** Ms between attempts to find the node of a slot, and their number: a worker tries for an hour, a request for 2 s. */
const redirectionDelay = 200;
const workerRedirections = 18_000;
const requestRedirections = 10;

export interface ConnectRedisOptions {
  /**
   * `worker`: commands wait for Redis to come back, however long. `request`: commands fail within 3 s, so that the API can answer
   * 503. Not for blocking commands, for which BullMQ makes its own connections.
   */
  readonly use: 'worker' | 'request';
  /** Shown by `CLIENT LIST`. */
  readonly name?: string;
  /** Called with connection errors. ioredis reconnects by itself, but would print them if there were no listener. */
  readonly onError?: (error: Error) => void;
}

/** A connection to one server (which Sentinel may choose), or to a Cluster. */
export type RedisClient = Redis | Cluster;

/**
 * Connects to Redis in the background: commands wait for the connection, so callers need not. Pass the instance to BullMQ
 * (`createTaskQueue`, `workerOptions`, `createTaskRelay`); end it with `disconnect()` after them.
 *
 * @throws TaskError `invalid_request` for a malformed URL; see `parseRedisUrl` for the forms
 */
export function connectRedis(url: string, options: ConnectRedisOptions): RedisClient {
  const { options: address, clusterNodes } = parseRedisUrl(url);
  const settings: RedisOptions = {
    ...address,
    ...(options.name === undefined ? {} : { connectionName: options.name }),
    socketTimeout: longestSilence[options.use],
    sentinelCommandTimeout: requestTimeout,
    ...(options.use === 'worker'
      ? { maxRetriesPerRequest: null }
      : { maxRetriesPerRequest: 1, commandTimeout: requestTimeout }),
  };
  const onError = options.onError ?? (() => {});
  if (clusterNodes !== undefined) return cluster(clusterNodes, settings, options).on('error', onError);
  return single(settings).on('error', async (error) => {
    const refused = await refusalInGreeting(settings);
    onError(
      refused === undefined ? error : new TaskError('redis_unavailable', refused, { retryable: true, cause: error }),
    );
  });
}

function single(settings: RedisOptions): Redis {
  const redis = new Redis({
    ...settings,
    retryStrategy: reconnectDelay,
    // After a failover the old master answers READONLY for a while: find the new master, then send the command again.
    reconnectOnError: (error) => (IS_REPLICA.test(error.message) ? 2 : false),
  });
  return mendedConnection(redis);
}

/** Commands are sent again when a slot has moved, and while its master is being elected: a worker's practically until it is. */
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
