import { Redis } from 'ioredis';
import * as z from 'zod';
import { TaskError } from '../error.ts';
import type { RedisClient } from './redis-connection.ts';
import { refusalInGreeting } from './redis-greeting.ts';
import { type RedisInfo, readRedisInfo } from './redis-info.ts';

const reply = z.object({ name: z.literal('ReplyError'), message: z.string() });

/** BullMQ's relay, which carries cancellations, needs 6.2. */
const minimumVersion = [6, 2] as const;

/** What server it is, and what an operator should change about it. */
export interface RedisServer {
  /** `Redis 7.0.15`, `Valkey 8.0.1` */
  readonly product: string;
  /** To be logged loudly; empty when all is well. */
  readonly warnings: readonly string[];
}

/**
 * Checks the server. Rejects with TaskError `redis_unavailable`: not retryable when its version is too old, retryable when it
 * does not answer, or refuses the connection.
 */
export async function checkRedisServer(redis: RedisClient): Promise<RedisServer> {
  const info = await ask(redis);
  const product = `${info.product} ${info.version ?? 'of unknown version'}`;
  if (info.version !== null && isOlder(info.version)) {
    throw new TaskError(
      'redis_unavailable',
      `${product} is too old: Redis ${minimumVersion.join('.')} or newer, or Valkey, is needed`,
    );
  }
  return { product, warnings: warningsOf(info) };
}

function warningsOf({ maxmemoryPolicy }: RedisInfo): string[] {
  if (maxmemoryPolicy === null || maxmemoryPolicy === 'noeviction') return [];
  return [
    `Redis may evict tasks when its memory is full: its maxmemory-policy is ${maxmemoryPolicy}, but must be noeviction`,
  ];
}

function isOlder(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < minimumVersion[0] || (major === minimumVersion[0] && minor < minimumVersion[1]);
}

async function ask(redis: RedisClient): Promise<RedisInfo> {
  try {
    return await readRedisInfo(redis);
  } catch (error) {
    throw new TaskError('redis_unavailable', await reasonOf(redis, error), { retryable: true, cause: error });
  }
}

async function reasonOf(redis: RedisClient, error: unknown): Promise<string> {
  const refusal = reply.safeParse(error);
  if (refusal.success) {
    return `Redis refuses us: ${refusal.data.message}; check user and password in REDIS_URL, and that user's permissions`;
  }
  const refused = redis instanceof Redis ? await refusalInGreeting(redis.options) : undefined;
  return refused ?? 'Redis does not answer';
}
