import type { Redis } from 'ioredis';

/** With the reason of the last one behind it where a sentinel was asked in vain. */
const endOfSentinels = /^All sentinels are unreachable\. Retrying from scratch after \d+ms\.$/;

/**
 * Mends three defects of ioredis in the connection and its duplicates, such as a worker's blocking one, which BullMQ makes. Not a subclass,
 * since the type of `duplicate` depends on the options that it is given.
 *
 * Between two attempts to connect, `disconnect` only clears the timer, and `end` is never emitted, for which BullMQ's `close()` waits.
 *
 * Between the loss of a connection and the end of the next handshake, the commands that were under way are in neither of the queues whose
 * commands are refused when the connection ends: a blocking one, as of BullMQ's relay, was never heard of again, nor was its `close()`.
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
  refuseUnfulfilled(redis);
  redis.duplicate = (override) => mendedConnection(duplicate(override));
  return redis;
}

/** Rejects the commands of a connection that was lost, and ends before they could be sent again. */
function refuseUnfulfilled<Mapping extends 'legacy' | 'resp3'>(redis: Redis<Mapping>): void {
  let wasReady = redis.status === 'ready';
  // Emptied as they are sent again.
  let unfulfilled = redis.commandQueue;
  redis.on('ready', () => {
    wasReady = true;
  });
  redis.on('close', () => {
    // Not those of a handshake.
    if (wasReady) unfulfilled = redis.commandQueue;
    wasReady = false;
  });
  redis.on('end', () => {
    for (let item = unfulfilled.shift(); item !== undefined; item = unfulfilled.shift()) {
      item.command.reject(new Error('Connection is closed.'));
    }
  });
}
