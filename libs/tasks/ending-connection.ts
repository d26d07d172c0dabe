import type { Redis } from 'ioredis';

/**
 * Makes the connection, and its duplicates, emit `end` whenever it is disconnected. Between two attempts to connect, ioredis only clears
 * its timer and never emits it. BullMQ duplicates this connection for a worker's blocking one, and its `close()` waits for that event. Not a
 * subclass, since the type of `duplicate` depends on the options that it is given.
 */
export function endingConnection<Mapping extends 'legacy' | 'resp3'>(redis: Redis<Mapping>): Redis<Mapping> {
  const disconnect = redis.disconnect.bind(redis);
  const duplicate = redis.duplicate.bind(redis);
  redis.disconnect = (reconnect = false) => {
    // As if it had not tried to connect yet: then it ends at once, even if a host or sentinel does not answer.
    if (redis.status === 'reconnecting' && !reconnect) redis.status = 'wait';
    disconnect(reconnect);
  };
  redis.duplicate = (override) => endingConnection(duplicate(override));
  return redis;
}
