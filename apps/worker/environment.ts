import type { ArchiveLimits } from '@bhatti/oci';
import type { ImageLimits, LayerLimits } from '@bhatti/rootfs';
import { z } from 'zod';
import { parseCacheSize } from './cache-size.ts';

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** A whole number, in digits. */
const limit = z
  .string()
  .trim()
  .regex(/^[1-9]\d{0,14}$/, 'must be a whole number, in digits')
  .transform(Number)
  .optional();

const schema = z.object({
  REDIS_URL: z.string().trim().min(1).optional(),
  BHATTI_CONCURRENCY: z.coerce.number().int().min(1).max(64).default(2),
  BHATTI_CACHE_SIZE: z.string().transform(parseCacheSize).optional(),
  BHATTI_MAX_LAYER_BYTES: limit,
  BHATTI_MAX_IMAGE_BYTES: limit,
  BHATTI_MAX_ARCHIVE_BYTES: limit,
  BHATTI_MAX_ENTRIES: limit,
  BHATTI_MAX_EXPANSION: limit,
  BHATTI_OVERLAY: z.string().trim().min(1).optional(),
  BHATTI_LOG_LEVEL: z.enum(logLevels).default('info'),
});

/** What layers, images and archives may be; what is not set is the library's to say. */
export interface UnpackLimits {
  readonly layer: Partial<LayerLimits>;
  readonly image: Partial<ImageLimits>;
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
    overlay: parsed.data.BHATTI_OVERLAY,
    logLevel: parsed.data.BHATTI_LOG_LEVEL,
  };
}

function unpackLimits(given: z.output<typeof schema>): UnpackLimits {
  const set = (name: string, value: number | undefined) => (value === undefined ? {} : { [name]: value });
  const entries = set('entries', given.BHATTI_MAX_ENTRIES);
  const expansion = set('expansionRatio', given.BHATTI_MAX_EXPANSION);
  return {
    layer: {
      ...entries,
      ...set('tarBytes', given.BHATTI_MAX_LAYER_BYTES),
      ...expansion,
    },
    image: { ...entries, ...set('contentBytes', given.BHATTI_MAX_IMAGE_BYTES) },
    archive: { ...expansion, ...set('unpackedBytes', given.BHATTI_MAX_ARCHIVE_BYTES) },
  };
}
