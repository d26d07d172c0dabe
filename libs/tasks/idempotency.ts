import { createHash } from 'node:crypto';
import { TaskError } from './error.ts';
import { KEY_PREFIX } from './queue.ts';
import type { RedisClient } from './redis-connection.ts';

/** How long a key is known. */
const keepSeconds = 24 * 3600;

/** A request that its sender may send again, because the answer may get lost (`Idempotency-Key`, an IETF draft). */
export interface KeyedRequest {
  readonly owner: string;
  /** As the client chose it: unique to the request. */
  readonly key: string;
  /** What is asked for, without secrets: the same key with another request is a mistake. */
  readonly content: unknown;
}

/**
 * The task that the key stands for; null when it is new. The task need not be on the queue: whoever claimed it may have
 * died before. Rejects with TaskError `idempotency_key_reused` when the key came with another request.
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

/** Makes the key stand for the task, unless it stands for one already; returns the task it stands for. */
export async function claimKey(redis: RedisClient, request: KeyedRequest, id: string): Promise<string> {
  const claimed = await redis.set(redisKey(request), `${id} ${fingerprint(request)}`, 'EX', keepSeconds, 'NX');
  return claimed === null ? ((await findKeyedTask(redis, request)) ?? id) : id;
}

/** Points the key to another task: the identical pull that was under way already. */
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
