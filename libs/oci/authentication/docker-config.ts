import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { OciError } from '../error.ts';
import type { Reference } from '../image/reference.ts';
import type { CredentialSource } from '../registry/registry-api.ts';
import { errorCode } from '../system-error.ts';
import type { Credentials } from './credentials.ts';

const entrySchema = z.object({
  auth: z.string().nullish(),
  username: z.string().nullish(),
  password: z.string().nullish(),
  identitytoken: z.string().nullish(),
});

const configSchema = z.object({
  auths: z.record(z.string(), entrySchema.nullish()).nullish(),
  credsStore: z.string().nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
});

const helperSchema = z.object({ Username: z.string(), Secret: z.string() });

/** The key of Docker Hub's credentials, a URL of its former API version 1. */
const HUB_KEY = 'https://index.docker.io/v1/';
/** User name with which Docker's config and helpers mark a password that is an identity token. */
const TOKEN_USER = '<token>';
const HELPER_OUTPUT_LIMIT = 64 * 1024;

export interface DockerConfigOptions {
  /** Default 15 s. */
  readonly helperTimeoutMs?: number;
  /** Environment of the credential helpers; they are looked up on its `PATH`. Default: this process's. */
  readonly environment?: NodeJS.ProcessEnv;
}

/** How long a helper's answer is reused: with Basic authentication, each layer of a pull asks for it. */
const HELPER_ANSWER_MS = 30_000;

/**
 * Credentials from a file in the format of Docker's `config.json` (`auths`, `credHelpers`, `credsStore`; also Podman's
 * `auth.json` with repositories as keys). It is read each time, so that a login takes effect without a restart. A missing file holds
 * no credentials.
 *
 * @returns a source that throws OciError `invalid_request` for a file that cannot be read, and for a helper that is missing, fails or
 * hangs; `internal`, with the system's error as its cause, where this machine is out of open files, processes or memory
 */
export function dockerConfigCredentials(path: string, options: DockerConfigOptions = {}): CredentialSource {
  const { helperTimeoutMs = 15_000, environment = process.env } = options;
  const answers = new Map<string, Promise<Credentials | undefined>>();
  const ask = (helper: string, server: string): Promise<Credentials | undefined> => {
    const key = `${helper} ${server}`;
    const known = answers.get(key);
    if (known !== undefined) return known;
    const answer = askHelper(helper, server, helperTimeoutMs, environment);
    answers.set(key, answer);
    const forget = (): void => {
      answers.delete(key);
    };
    answer.then(() => setTimeout(forget, HELPER_ANSWER_MS).unref(), forget);
    return answer;
  };
  return async (reference) => {
    const config = await readConfig(path);
    if (config === undefined) return undefined;
    const isHub = reference.domain === 'docker.io';
    const names = isHub ? [HUB_KEY, 'index.docker.io', 'docker.io', 'registry-1.docker.io'] : [reference.domain];
    const named = names.map((name) => config.credHelpers?.[name]).find((helper) => helper !== undefined);
    const helper = named ?? config.credsStore;
    const server = isHub ? HUB_KEY : reference.domain;
    return (helper ? await ask(helper, server) : undefined) ?? entryFor(reference, config);
  };
}

async function readConfig(path: string): Promise<z.infer<typeof configSchema> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT') return undefined;
    throw unusable(`cannot read the registry credentials in ${path}`, cause);
  }
  try {
    return configSchema.parse(JSON.parse(text));
  } catch {
    // No cause: the message of JSON.parse may quote part of a password.
    throw new OciError('invalid_request', `the registry credentials in ${path} are not a valid Docker config`);
  }
}

function entryFor(reference: Reference, { auths }: z.infer<typeof configSchema>): Credentials | undefined {
  const byKey = new Map(Object.entries(auths ?? {}).map(([key, entry]) => [plainKey(key), entry]));
  const domain = reference.domain === 'docker.io' ? 'index.docker.io' : reference.domain;
  // The longest key that covers the repository: `quay.io/team/app`, `quay.io/team`, `quay.io`.
  const parts = reference.path.split('/');
  for (let length = parts.length; length >= 0; length -= 1) {
    const suffix = parts
      .slice(0, length)
      .map((part) => `/${part}`)
      .join('');
    for (const name of [domain, reference.domain]) {
      const entry = byKey.get(`${name}${suffix}`);
      const credentials = entry ? toCredentials(entry) : undefined;
      if (credentials !== undefined) return credentials;
    }
  }
  return undefined;
}

/** The host of a key: Docker has written keys with a scheme and a version (`https://index.docker.io/v1/`). */
function plainKey(key: string): string {
  return key
    .replace(/^https?:\/\//, '')
    .replace(/\/v[12]\/?$/, '')
    .replace(/\/$/, '');
}

function toCredentials({
  auth,
  username,
  password,
  identitytoken,
}: z.infer<typeof entrySchema>): Credentials | undefined {
  if (identitytoken) return { token: identitytoken };
  if (username && password) return named(username, password);
  const decoded = Buffer.from(auth ?? '', 'base64')
    .toString('utf8')
    .replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  return colon < 1 ? undefined : named(decoded.slice(0, colon), decoded.slice(colon + 1));
}

function named(username: string, password: string): Credentials {
  return username === TOKEN_USER ? { token: password } : { username, password };
}

/** The machine is short of a resource: the settings are not to blame, and trying again may help. */
const SHORTAGES = new Set(['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM']);

function unusable(what: string, cause: unknown): OciError {
  const code = errorCode(cause);
  return new OciError(SHORTAGES.has(code) ? 'internal' : 'invalid_request', `${what} (${code})`, { cause });
}

/** Runs `docker-credential-NAME get` with the server on its standard input (docker-credential-helpers protocol); no shell. */
async function askHelper(
  name: string,
  server: string,
  timeoutMs: number,
  env: NodeJS.ProcessEnv,
): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name))
    throw new OciError('invalid_request', 'the Docker config names an invalid credential helper');
  const program = `docker-credential-${name}`;
  const fail = (reason: string): OciError =>
    new OciError('invalid_request', `the credential helper ${program} ${reason}`);
  const { status, output } = await runHelper(program, server, timeoutMs, env, fail);
  // A helper that has no credentials for the server exits with 1 and this message.
  if (status !== 0) {
    if (/credentials not found/i.test(output)) return undefined;
    throw fail(`failed with status ${status}; run \`docker login\` again for the user that this server runs as`);
  }
  try {
    const { Username, Secret } = helperSchema.parse(JSON.parse(output));
    // This is how some helpers say that they have none; Go's clients are then anonymous.
    return Username === '' && Secret === '' ? undefined : named(Username, Secret);
  } catch {
    // No cause: it would contain the answer.
    throw fail('gave no valid answer');
  }
}

async function runHelper(
  program: string,
  input: string,
  timeoutMs: number,
  env: NodeJS.ProcessEnv,
  fail: (reason: string) => OciError,
): Promise<{ status: number | null; output: string }> {
  // In its own process group, so that the helper's children are killed with it, and do not keep its output open.
  const child = spawn(program, ['get'], { stdio: ['pipe', 'pipe', 'ignore'], detached: true, env });
  // A process that did not start may not have streams either.
  await once(child, 'spawn').catch((cause: unknown) => {
    if (errorCode(cause) === 'ENOENT') throw fail('is not installed, or not on the PATH');
    throw unusable(`the credential helper ${program} could not be run`, cause);
  });
  return new Promise((resolve, reject) => {
    let output = '';
    const timer = setTimeout(() => {
      reject(fail(`did not answer within ${timeoutMs / 1000} s`));
      child.stdout.destroy();
      killGroup(child.pid);
    }, timeoutMs);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (output.length < HELPER_OUTPUT_LIMIT) output += text;
    });
    child.on('close', (status) => {
      clearTimeout(timer);
      resolve({ status, output });
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
