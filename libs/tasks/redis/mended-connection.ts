import type { Redis } from 'ioredis';

/** With the reason of the last one behind it where a sentinel was asked in vain. */
const endOfSentinels = /^All sentinels are unreachable\. Retrying from scratch after \d+ms\.$/;

/**
 * Mends two defects of ioredis in the connection and its duplicates, such as a worker's blocking one, which BullMQ makes. Not a subclass,
 * since the type of `duplicate` depends on the options that it is given.
 *
 * Between two attempts to connect, `disconnect` only clears the timer, and `end` is never emitted, for which BullMQ's `close()` waits.
 *
 * Each attempt asks the next sentinel of the list. At the end of the list, all are said to be unreachable, also if none was.
 */
export function mendedConnection<Mapping extends 'legacy' | 'resp3'>(redis: Redis<Mapping>): Redis<Mapping> {
  const disconnect = redis.disconnect.bind(redis);
  const duplicate = redis.duplicate.bind(redis);
  const emit = redis.emit.bind(redis);
  redis.disconnect = (reconnect = false) => {
    // As if it had not tried to connect yet: then it ends at once, even if a host or sentinel does not answer.
    if (redis.status === 'reconnecting' && !reconnect) redis.status = 'wait';
    disconnect(reconnect);
  };
  redis.emit = (event, ...about) => {
    const [error] = about;
    return (event === 'error' && error instanceof Error && endOfSentinels.test(error.message)) || emit(event, ...about);
  };
  redis.duplicate = (override) => mendedConnection(duplicate(override));
  return redis;
}
