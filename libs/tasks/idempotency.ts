import { createHash } from 'node:crypto';
import { TaskError } from './error.ts';
import { KEY_PREFIX } from './queue.ts';
import type { RedisClient } from './redis/redis-connection.ts';

/** How long a key is remembered. */
const keepSeconds = 24 * 3600;

/** A request that a client may send again, because the response may get lost (`Idempotency-Key`, an IETF draft). */
export interface KeyedRequest {
  readonly owner: string;
  /** Chosen by the client; unique to the request. */
  readonly key: string;
  /** What is requested, without secrets, to detect a key that is reused for another request. */
  readonly content: unknown;
}

/**
 * The task that the key refers to; null when the key is new. The task may not be on the queue, if the claiming process died
 * before. Rejects with TaskError `idempotency_key_reused` when the key came with another request.
 */
export async function findKeyedTask(redis: RedisClient, request: KeyedRequest): Promise<string | null> {
  const stored = await redis.get(redisKey(request));
  if (stored === null) return null;
  const space = stored.indexOf(' ');
  if (stored.slice(space + 1) === fingerprint(request)) return stored.slice(0, space);
  throw new TaskError(
    'idempotency_key_reused',
    'this Idempotency-Key came with another request before; choose a new one for each request',
  );
}

/** Makes the key refer to the task, unless it refers to one already; returns the task that it refers to. */
export async function claimKey(redis: RedisClient, request: KeyedRequest, id: string): Promise<string> {
  const claimed = await redis.set(redisKey(request), `${id} ${fingerprint(request)}`, 'EX', keepSeconds, 'NX');
  return claimed === null ? ((await findKeyedTask(redis, request)) ?? id) : id;
}

/** Makes the key refer to another task: the identical pull that was already in progress. */
export async function repointKey(redis: RedisClient, request: KeyedRequest, id: string): Promise<void> {
  await redis.set(redisKey(request), `${id} ${fingerprint(request)}`, 'EX', keepSeconds);
}

function redisKey({ owner, key }: KeyedRequest): string {
  return `${KEY_PREFIX}:idempotency:${hash([owner, key])}`;
}

function fingerprint({ content }: KeyedRequest): string {
  return hash(content);
}

function hash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
