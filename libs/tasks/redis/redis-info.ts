import * as z from 'zod';
import type { RedisClient } from './redis-connection.ts';

/** What a server reports about itself (`INFO`). What a managed Redis hides is 0 or null. */
export interface RedisInfo {
  readonly product: 'Redis' | 'Valkey';
  /** `7.0.15` */
  readonly version: string | null;
  readonly memoryUsedBytes: number;
  /** 0 for no limit. */
  readonly memoryLimitBytes: number;
  readonly maxmemoryPolicy: string | null;
  readonly clients: number;
  readonly uptimeSeconds: number;
}

const text = z.string().nullable().default(null);
const count = z.coerce.number().min(0).catch(0);

const fields = z
  .object({
    redis_version: text,
    valkey_version: text,
    used_memory: count,
    maxmemory: count,
    maxmemory_policy: text,
    connected_clients: count,
    uptime_in_seconds: count,
  })
  .transform(
    (info): RedisInfo => ({
      product: info.valkey_version === null ? 'Redis' : 'Valkey',
      version: info.valkey_version ?? info.redis_version,
      memoryUsedBytes: info.used_memory,
      memoryLimitBytes: info.maxmemory,
      maxmemoryPolicy: info.maxmemory_policy,
      clients: info.connected_clients,
      uptimeSeconds: info.uptime_in_seconds,
    }),
  );

/** Runs `INFO`; rejects as any command does. */
export async function readRedisInfo(redis: RedisClient): Promise<RedisInfo> {
  const lines = [...(await redis.info()).matchAll(/^(\w+):([^\r\n]*)/gm)];
  return fields.parse(Object.fromEntries(lines.map(([, name, value]) => [name, value])));
}
