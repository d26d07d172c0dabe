import type { Redis } from 'ioredis';

/**
 * Has the connection, and its duplicates, come to an end whenever it is disconnected. Between two attempts to connect, ioredis only
 * clears its timer: it never says that it has ended, and what waits for it waits for ever. BullMQ makes a worker's blocking connection
 * of this one, and its `close()` waits for that word. No subclass: the type of `duplicate` depends on the options that it is given.
 */
export function endingConnection<Mapping extends 'legacy' | 'resp3'>(redis: Redis<Mapping>): Redis<Mapping> {
  const disconnect = redis.disconnect.bind(redis);
  const duplicate = redis.duplicate.bind(redis);
  redis.disconnect = (reconnect = false) => {
    // As one that has made no attempt yet: that ends at once, whatever host or sentinel does not answer.
    if (redis.status === 'reconnecting' && !reconnect) redis.status = 'wait';
    disconnect(reconnect);
  };
  redis.duplicate = (override) => endingConnection(duplicate(override));
  return redis;
}
