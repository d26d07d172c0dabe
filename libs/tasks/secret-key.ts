import { createSecretKey, type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import * as z from 'zod';
import { TaskError } from './error.ts';

const keyBytes = 32;
const systemError = z.object({ code: z.string() });

export interface SecretKeyOptions {
  /** `secret.key` in the data directory; created (mode 0600) on first use. */
  readonly path: string;
  /** Its `BHATTI_SECRET_KEY` (32 bytes as hex or base64) takes precedence over the file. */
  readonly env: NodeJS.ProcessEnv;
}

/**
 * The key that seals credentials. A KeyObject, because its content is never printed by accident.
 * Rejects with TaskError `invalid_request` when there is a key that is malformed or cannot be read, rather than replace it.
 */
export async function loadSecretKey(options: SecretKeyOptions): Promise<KeyObject> {
  const given = options.env.BHATTI_SECRET_KEY;
  if (given !== undefined && given !== '') {
    return parseKey(given, 'BHATTI_SECRET_KEY', 'openssl rand -base64 32 makes one, for all processes the same');
  }
  const text = (await readIfThere(options.path)) ?? (await create(options.path));
  return parseKey(text, options.path, ON_WRONG_FILE);
}

const ON_WRONG_FILE =
  'put the right one back; or remove the file, and a new key is made: tasks that wait with credentials will fail then';

function parseKey(text: string, source: string, advice: string): KeyObject {
  const trimmed = text.trim();
  const bytes = /^[0-9a-fA-F]{64}$/.test(trimmed) ? Buffer.from(trimmed, 'hex') : decodeBase64(trimmed);
  if (bytes?.length !== keyBytes) {
    throw new TaskError(
      'invalid_request',
      `${source} does not hold a key, 32 bytes as 64 hex digits or base64: ${advice}`,
    );
  }
  return createSecretKey(bytes);
}

function decodeBase64(text: string): Buffer | undefined {
  return /^[A-Za-z0-9+/_-]{43}=?$/.test(text) ? Buffer.from(text, 'base64') : undefined;
}

async function create(path: string): Promise<string> {
  const temporary = `${path}.${randomUUID()}`;
  const content = `${randomBytes(keyBytes).toString('base64')}\n`;
  try {
    await writeFile(temporary, content, { mode: 0o600, flag: 'wx', flush: true });
    // Creates it complete and exclusively: when API and worker start together, one makes the key and both read it.
    await link(temporary, path);
  } catch (error) {
    if (systemError.safeParse(error).data?.code !== 'EEXIST') throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  return readFile(path, 'utf8');
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = systemError.safeParse(error).data?.code;
    if (code === 'ENOENT') return undefined;
    throw new TaskError(
      'invalid_request',
      `${path}, the key that seals credentials, cannot be read (${code}): it has to be a file that this user may read`,
      { cause: error },
    );
  }
}
