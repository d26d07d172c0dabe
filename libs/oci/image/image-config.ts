import * as z from 'zod';
import { OciError } from '../error.ts';
import { isDigest } from './digest.ts';
import { firstIssue, parseJson } from './manifest.ts';
import { normalizePlatform, type Platform } from './platform.ts';
import { anyRecord, listOf, textList, textRecord } from './texts.ts';

/** How the image wants to be run; OCI image spec, "Image Configuration", with absent and null fields made empty. */
export interface ImageConfig {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  /** As the image states it; RFC 3339. */
  readonly created?: string;
  /** `NAME=value`. */
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `user`, `uid`, `user:group` or empty for root. */
  readonly user: string;
  readonly workingDir: string;
  /** `80/tcp`. */
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal?: string;
}

const digests = listOf(isDigest, 'is not a list of digests');

/** Go writes absent slices and maps as null. */
const strings = textList.nullish().transform((list) => list ?? []);
/** Images built by the first versions of Docker hold a command as one string. */
const command = z
  .union([textList, z.string().transform((text) => [text])])
  .nullish()
  .transform((list) => list ?? []);
/** Go writes a set as a map; the keys are its members. */
const keys = anyRecord.nullish().transform((set) => Object.keys(set ?? {}));
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const optionalText = z
  .string()
  .nullish()
  .transform((value) => value || undefined);

const runSchema = z.object({
  Env: strings,
  Entrypoint: command,
  Cmd: command,
  User: text,
  WorkingDir: text,
  ExposedPorts: keys,
  Volumes: keys,
  Labels: textRecord.nullish().transform((given) => given ?? {}),
  StopSignal: optionalText,
});

const configSchema = z.object({
  os: text,
  architecture: text,
  variant: optionalText,
  created: optionalText,
  config: runSchema.nullish(),
  rootfs: z.object({
    type: z.literal('layers'),
    diff_ids: digests.nullish().transform((list) => list ?? []),
  }),
});

export interface ParsedConfig {
  readonly config: ImageConfig;
  readonly platform: Platform;
  /** Digests of the uncompressed layers, bottom first. */
  readonly diffIds: readonly string[];
}

/**
 * Parses the config blob of an image.
 *
 * @param name what messages call the image
 * @param suspicion the likely reason if it is not JSON, for the message
 * @throws OciError `invalid_manifest`
 */
export function parseImageConfig(body: Uint8Array, name: string, suspicion?: string): ParsedConfig {
  const parsed = configSchema.safeParse(parseJson(body, `the config of ${name}`, suspicion));
  if (!parsed.success) {
    throw new OciError('invalid_manifest', `the config of ${name} is invalid: ${firstIssue(parsed.error)}`);
  }
  const { data } = parsed;
  const run = data.config ?? runSchema.parse({});
  const platform = normalizePlatform({
    os: data.os || 'linux',
    architecture: data.architecture || 'unknown',
    variant: data.variant,
  });
  const config: ImageConfig = {
    ...platform,
    created: data.created,
    env: run.Env,
    entrypoint: run.Entrypoint,
    cmd: run.Cmd,
    user: run.User,
    workingDir: run.WorkingDir,
    exposedPorts: run.ExposedPorts,
    volumes: run.Volumes,
    labels: run.Labels,
    stopSignal: run.StopSignal,
  };
  return { config, platform, diffIds: data.rootfs.diff_ids };
}
