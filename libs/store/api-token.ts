import { createHash, randomInt } from 'node:crypto';

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const pattern = /^bht_[A-Za-z0-9]{40}$/;

/** A new API token: `bht_` and 40 random letters or digits, 238 bits. */
export function createApiToken(): string {
  return `bht_${Array.from({ length: 40 }, () => alphabet[randomInt(alphabet.length)]).join('')}`;
}

/** Whether the text has the form of an API token. */
export function isApiToken(text: string): boolean {
  return pattern.test(text);
}

/** SHA-256 of a token, 32 bytes. A slow password hash would add nothing: nobody can guess 238 random bits. */
export function hashApiToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
