import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto';
import * as z from 'zod';
import { TaskError } from './error.ts';

/** Credentials for a registry: user and password, or an identity token. */
export const RegistryCredentials = z.union([
  z.strictObject({ username: z.string(), password: z.string() }),
  z.strictObject({ token: z.string() }),
]);
export type RegistryCredentials = z.output<typeof RegistryCredentials>;

const version = 'v1';
const algorithm = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;

/**
 * Encrypts credentials for their way through Redis (AES-256-GCM, random nonce). They can only be decrypted with the same key
 * and for the same registry: whoever can write to Redis cannot have them sent elsewhere.
 *
 * @param registry domain of the canonical reference: `ghcr.io`
 * @returns `v1.<base64url>`
 */
export function sealCredentials(credentials: RegistryCredentials, key: KeyObject, registry: string): string {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(algorithm, key, nonce).setAAD(boundTo(registry));
  const text = Buffer.concat([cipher.update(JSON.stringify(credentials), 'utf8'), cipher.final()]);
  return `${version}.${Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64url')}`;
}

/** Decrypts sealed credentials. @throws TaskError `secret_key_mismatch` for another key, another registry, or altered data */
export function openCredentials(sealed: string, key: KeyObject, registry: string): RegistryCredentials {
  try {
    if (!sealed.startsWith(`${version}.`)) throw new Error('unknown format');
    const bytes = Buffer.from(sealed.slice(version.length + 1), 'base64url');
    const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes });
    decipher.setAAD(boundTo(registry)).setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes));
    const text = Buffer.concat([decipher.update(bytes.subarray(nonceBytes + tagBytes)), decipher.final()]);
    return RegistryCredentials.parse(JSON.parse(text.toString('utf8')));
  } catch {
    // Without the cause: the JSON parser's message may quote the text.
    throw new TaskError(
      'secret_key_mismatch',
      'the credentials that came with the task do not open with the secret key of this worker: it is not that of the API, or was replaced since. Give all processes the same key (BHATTI_SECRET_KEY on every host, or secret.key in the data directory), start them again, and ask for the image again',
    );
  }
}

function boundTo(registry: string): Buffer {
  return Buffer.from(`bhatti registry credentials ${version} ${registry}`, 'utf8');
}
