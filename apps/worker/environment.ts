import type { ArchiveLimits } from '@bhatti/oci';
import { limitsOf, limitVariables, type RootfsLimits } from '@bhatti/rootfs';
import * as z from 'zod';
import { parseCacheSize } from './cache-size.ts';

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

function count(most: number, standard: number) {
  const error = `must be a whole number, 1 to ${most}`;
  return z.coerce.number({ error }).int({ error }).min(1, { error }).max(most, { error }).default(standard);
}

const schema = z.object({
  ...limitVariables.shape,
  BHATTI_MAX_ARCHIVE_BYTES: limitVariables.shape.BHATTI_MAX_IMAGE_BYTES,
  REDIS_URL: z.string().trim().min(1).optional(),
  BHATTI_CONCURRENCY: count(64, 2),
  BHATTI_CACHE_SIZE: z.string().transform(parseCacheSize).optional(),
  // Node's timers go up to 24 days.
  BHATTI_HOUSEKEEPING_SECONDS: count(2_000_000, 86_400),
  BHATTI_OVERLAY: z.string().trim().min(1).optional(),
  BHATTI_LOG_LEVEL: z.enum(logLevels, { error: `must be one of ${logLevels.join(', ')}` }).default('info'),
});

/** What layers, images and archives may take; where a limit is not set, the default of its library applies. */
export interface UnpackLimits extends RootfsLimits {
  readonly archive: Partial<ArchiveLimits>;
}

export interface WorkerEnvironment {
  readonly limits: UnpackLimits;
  /** URL or path of a socket; undefined stands for the embedded Redis of the data directory. */
  readonly redisUrl: string | undefined;
  /** Jobs at once in this process. */
  readonly concurrency: number;
  /** Bytes on disk that cached layers may take; undefined for no limit. */
  readonly cacheBytes: number | undefined;
  /** Ms between two rounds of housekeeping. */
  readonly housekeepingInterval: number;
  /** Path of a tar that goes on top of every image. */
  readonly overlay: string | undefined;
  readonly logLevel: string;
}

/** Reads the process environment. An empty variable counts as not set. @throws Error naming the variables that are wrong */
export function readEnvironment(env: NodeJS.ProcessEnv): WorkerEnvironment {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    throw new Error(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  }
  return {
    limits: unpackLimits(parsed.data),
    redisUrl: parsed.data.REDIS_URL,
    concurrency: parsed.data.BHATTI_CONCURRENCY,
    cacheBytes: parsed.data.BHATTI_CACHE_SIZE,
    housekeepingInterval: parsed.data.BHATTI_HOUSEKEEPING_SECONDS * 1000,
    overlay: parsed.data.BHATTI_OVERLAY,
    logLevel: parsed.data.BHATTI_LOG_LEVEL,
  };
}

function unpackLimits(given: z.output<typeof schema>): UnpackLimits {
  const { BHATTI_MAX_ARCHIVE_BYTES: unpackedBytes, BHATTI_MAX_EXPANSION: expansionRatio } = given;
  return {
    ...limitsOf(given),
    archive: {
      ...(unpackedBytes === undefined ? {} : { unpackedBytes }),
      ...(expansionRatio === undefined ? {} : { expansionRatio }),
    },
  };
}
