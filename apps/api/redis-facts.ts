import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { AdminStatus } from './api-schema.ts';

/** What operators want to know of `INFO`; fields that a managed Redis hides are 0 or "unknown". */
const info = z
  .object({
    redis_version: z.string().default('unknown'),
    valkey_version: z.string().optional(),
    used_memory: z.coerce.number().default(0),
    maxmemory: z.coerce.number().default(0),
    maxmemory_policy: z.string().default('unknown'),
    connected_clients: z.coerce.number().default(0),
    uptime_in_seconds: z.coerce.number().default(0),
  })
  .transform((facts): AdminStatus['redis'] => ({
    version: facts.valkey_version === undefined ? `Redis ${facts.redis_version}` : `Valkey ${facts.valkey_version}`,
    memory_used_bytes: facts.used_memory,
    memory_limit_bytes: facts.maxmemory,
    maxmemory_policy: facts.maxmemory_policy,
    clients: facts.connected_clients,
    uptime_seconds: facts.uptime_in_seconds,
  }));

export async function readRedisFacts(redis: Pick<Redis, 'info'>): Promise<AdminStatus['redis']> {
  const fields = [...(await redis.info()).matchAll(/^(\w+):([^\r\n]*)/gm)].map(([, name, value]) => [name, value]);
  return info.parse(Object.fromEntries(fields));
}
