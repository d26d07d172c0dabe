import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import * as z from 'zod';
import { dockerConfigCredentials } from '../authentication/docker-config.ts';
import type { RegistryClientOptions } from '../client.ts';
import type { AddressPolicy } from '../connection/address-policy.ts';
import { isLoopbackHost } from '../connection/host.ts';
import { OciError } from '../error.ts';
import { errorCode } from '../system-error.ts';
import { RegistryConfiguration, type RegistrySettings } from './registry-settings.ts';

const scopes = ['loopback', 'link-local', 'private', 'public'] as const;
const oneOrMore = z.union([z.string(), z.array(z.string())]).transform((value) => [value].flat());

/** Strict: a misspelt key must not pass for a setting. */
const fileSchema = z.strictObject({
  registries: z
    .record(
      z.string().min(1),
      z.strictObject({
        insecure: z.boolean().optional(),
        ca: oneOrMore.optional(),
        client_certificate: z.strictObject({ cert: z.string(), key: z.string() }).optional(),
        mirrors: oneOrMore.optional(),
      }),
    )
    .optional(),
  ca: oneOrMore.optional(),
  addresses: z.strictObject({ deny: z.array(z.enum(scopes)).optional(), allow: oneOrMore.optional() }).optional(),
  connections_per_host: z.number().int().min(1).max(256).optional(),
  stall_timeout: z.number().min(1).max(3600).optional(),
});

const list = z.string().transform((text) => text.split(/[\s,]+/).filter((item) => item !== ''));

const environmentSchema = z.object({
  BHATTI_REGISTRIES_FILE: z.string().optional(),
  BHATTI_INSECURE_REGISTRIES: list.default([]),
  BHATTI_DENY_ADDRESSES: list
    .transform((items) => (items.length === 1 && items[0] === 'none' ? [] : items))
    .pipe(z.array(z.enum(scopes, { error: `use ${scopes.join(', ')}, or none` })))
    .optional(),
  BHATTI_ALLOW_HOSTS: list.optional(),
  BHATTI_LISTEN: z.string().optional(),
  DOCKER_CONFIG: z.string().optional(),
  HOME: z.string().optional(),
});

type FileSettings = z.infer<typeof fileSchema>;

export interface OperatorSettingsOptions {
  /** Where the API listens when BHATTI_LISTEN is not set. When undefined, the API is assumed to be open to other hosts. */
  readonly defaultListen?: string;
}

/**
 * The operator's settings for registries, with which every client of an installation is made: `registries.yaml` in the data
 * directory (or BHATTI_REGISTRIES_FILE), which all hosts share, overridden by the environment. See docs/registries.md.
 *
 * @throws OciError `invalid_request` or `invalid_reference`, naming the variable, or the file and the key
 */
export async function readOperatorSettings(
  environment: NodeJS.ProcessEnv,
  dataDirectory: string,
  { defaultListen }: OperatorSettingsOptions = {},
): Promise<RegistryClientOptions> {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value?.trim() !== ''));
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) throw new OciError('invalid_request', problems(parsed.error));
  const env = parsed.data;
  const path = resolve(dataDirectory, env.BHATTI_REGISTRIES_FILE ?? 'registries.yaml');
  const file = await readSettingsFile(path, env.BHATTI_REGISTRIES_FILE !== undefined);
  const options: RegistryClientOptions = {
    insecureRegistries: env.BHATTI_INSECURE_REGISTRIES,
    certificateAuthorities: await readCertificates(file.ca, path),
    registries: await readRegistries(file.registries, path),
    addressPolicy: addressPolicy(env, file, env.BHATTI_LISTEN ?? defaultListen),
    credentialSource: dockerConfigCredentials(join(env.DOCKER_CONFIG ?? join(homeOf(env), '.docker'), 'config.json')),
    ...(file.connections_per_host !== undefined && { connectionsPerHost: file.connections_per_host }),
    ...(file.stall_timeout !== undefined && { stallTimeoutMs: file.stall_timeout * 1000 }),
  };
  try {
    new RegistryConfiguration(options);
  } catch (cause) {
    if (!(cause instanceof OciError)) throw cause;
    throw new OciError(cause.code, `the registry settings in ${path}: ${cause.message}`, { cause });
  }
  return options;
}

/** `/` for a user whom the system does not know (a bare uid in a container), as for Docker. */
function homeOf({ HOME }: z.infer<typeof environmentSchema>): string {
  try {
    return HOME ?? userInfo().homedir;
  } catch {
    return '/';
  }
}

/** Whoever can reach an open API could make the server connect to what only its own machine can reach: denied by default. */
function addressPolicy(
  env: z.infer<typeof environmentSchema>,
  { addresses }: FileSettings,
  listen: string | undefined,
): AddressPolicy {
  const byDefault = listen === undefined || isOpen(listen) ? (['loopback', 'link-local'] as const) : [];
  return {
    deny: env.BHATTI_DENY_ADDRESSES ?? addresses?.deny ?? byDefault,
    allowHosts: env.BHATTI_ALLOW_HOSTS ?? addresses?.allow ?? [],
  };
}

/** Whether other machines can reach the API at this BHATTI_LISTEN; an empty host means loopback. */
function isOpen(listen: string): boolean {
  const host = listen.trim().replace(/:[0-9]*$/, '');
  if (host === '' || host === 'none') return false;
  return !isLoopbackHost(isIPv6(host) ? `[${host}]` : host);
}

async function readSettingsFile(path: string, isRequired: boolean): Promise<FileSettings> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (!isRequired && errorCode(cause) === 'ENOENT') return {};
    throw new OciError('invalid_request', `cannot read the registry settings in ${path} (${errorCode(cause)})`, {
      cause,
    });
  }
  // Loaded here: the parser costs 30 ms, and most servers have no such file.
  const { parse } = await import('yaml');
  let content: unknown;
  try {
    content = parse(text) ?? {};
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : '';
    throw new OciError('invalid_request', `the registry settings in ${path} are not valid YAML: ${reason}`, { cause });
  }
  const parsed = fileSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  throw new OciError('invalid_request', `the registry settings in ${path}: ${problems(parsed.error)}`);
}

async function readRegistries(
  registries: FileSettings['registries'] = {},
  path: string,
): Promise<Record<string, RegistrySettings>> {
  const entries = Object.entries(registries).map(
    async ([host, { insecure, ca, client_certificate: client, mirrors }]) => {
      const settings: RegistrySettings = {
        ...(insecure !== undefined && { insecure }),
        ...(ca !== undefined && { certificateAuthorities: await readCertificates(ca, path) }),
        ...(client !== undefined && {
          clientCertificate: { cert: await readPem(client.cert, path), key: await readPem(client.key, path) },
        }),
        ...(mirrors !== undefined && { mirrors }),
      };
      return [host, settings] as const;
    },
  );
  return Object.fromEntries(await Promise.all(entries));
}

function readCertificates(files: readonly string[] = [], settingsPath: string): Promise<string[]> {
  return Promise.all(files.map((file) => readPem(file, settingsPath)));
}

/** Relative paths start from the folder of the settings file. */
async function readPem(file: string, settingsPath: string): Promise<string> {
  // Not repeated in the message: it may be a private key.
  if (/-----BEGIN|\n/.test(file)) {
    const message = `${settingsPath} is invalid: a certificate or key is given by the path of its PEM file, not by its content`;
    throw new OciError('invalid_request', message);
  }
  try {
    return await readFile(resolve(dirname(settingsPath), file), 'utf8');
  } catch (cause) {
    const message = `cannot read the file ${file} that ${settingsPath} names (${errorCode(cause)})`;
    throw new OciError('invalid_request', message, { cause });
  }
}

function problems(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join('.') || 'file'}: ${message}`).join('; ');
}
