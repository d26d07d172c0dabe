import type { TaskLimits } from '@bhatti/tasks';
import * as z from 'zod';

/** Where the TCP listener binds. `explicit` is false for the default, which may be taken without that being fatal. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
  readonly explicit: boolean;
}

/** The settings of the API process, as its environment gives them. */
export interface ApiConfig {
  /** BHATTI_DATA_DIR as given; the store's own rules decide where it is not. */
  readonly dataDirectory: string | undefined;
  /** REDIS_URL as given: redis://, rediss://, redis+unix:// or a socket path. Without it: the embedded Redis of the data directory. */
  readonly redisUrl: string | undefined;
  /** null: no TCP listener, the unix socket only. */
  readonly listen: ListenAddress | null;
  /** Whether workers put an overlay on top of images. Only they know its digest. */
  readonly overlay: boolean;
  readonly logLevel: LogLevel;
  readonly limits: TaskLimits;
}

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
type LogLevel = (typeof logLevels)[number];

/** A setting that cannot be used. The message names the variable and says what to set. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const defaultListen: ListenAddress = { host: '127.0.0.1', port: 8080, explicit: false };

/** `host:port` that the API listens on unless it is told otherwise. */
export const DEFAULT_LISTEN = `${defaultListen.host}:${defaultListen.port}`;

/** An unset variable and an empty one mean the same, as in every shell script that passes settings on. */
const optionalText = z
  .string()
  .trim()
  .optional()
  .transform((text) => (text === '' ? undefined : text));

function limit(standard: number) {
  return optionalText.pipe(
    z
      .string()
      .regex(/^[1-9]\d{0,8}$/, { error: 'must be a whole number, at least 1' })
      .default(String(standard))
      .transform(Number),
  );
}

const environmentSchema = z.object({
  BHATTI_DATA_DIR: optionalText,
  REDIS_URL: optionalText,
  BHATTI_LISTEN: optionalText,
  BHATTI_MAX_TASKS_PER_OWNER: limit(500),
  BHATTI_MAX_TASKS: limit(10_000),
  BHATTI_OVERLAY: optionalText,
  BHATTI_LOG_LEVEL: optionalText.pipe(
    z.enum(logLevels, { error: `must be one of ${logLevels.join(', ')}` }).default('info'),
  ),
});

/** Reads the settings of the API from the environment. Throws ConfigError. */
export function readConfig(environment: NodeJS.ProcessEnv): ApiConfig {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) {
    throw new ConfigError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  }
  return {
    dataDirectory: parsed.data.BHATTI_DATA_DIR,
    redisUrl: parsed.data.REDIS_URL,
    listen: parseListen(parsed.data.BHATTI_LISTEN),
    overlay: parsed.data.BHATTI_OVERLAY !== undefined,
    logLevel: parsed.data.BHATTI_LOG_LEVEL,
    limits: { ofOwner: parsed.data.BHATTI_MAX_TASKS_PER_OWNER, inAll: parsed.data.BHATTI_MAX_TASKS },
  };
}

/** `host:port`, `[ipv6]:port`, `:port` (loopback), or `none`. Port 0 lets the system choose. */
export function parseListen(text: string | undefined): ListenAddress | null {
  if (text === undefined) return defaultListen;
  if (text === 'none') return null;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) {
    throw new ConfigError(`BHATTI_LISTEN: "${text}" is not an address; use host:port (127.0.0.1:8080), or none`);
  }
  return { host: match[1] ?? (match[2] || defaultListen.host), port, explicit: true };
}
