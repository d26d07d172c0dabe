import { inspect } from 'node:util';
import type { Authorization } from '../connection/http.ts';
import { OciError } from '../error.ts';
import type { Credentials } from './credentials.ts';

const REDACTED = '[redacted]';
/** Shorter secrets cannot be told from the words of a message. */
const SHORTEST = 4;

/** Where a server's text was cut, maybe within a secret: here, or by V8 when it quotes invalid JSON. */
const CUTS = ['…', '"...', '...'];

/** The secrets that one call has sent to registries, kept out of errors and logs even where a server repeats one in its answer. */
export class Redaction {
  readonly #secrets = new Set<string>();

  /** Adds the secret of these credentials. */
  credentials(credentials: Credentials | undefined): void {
    if (credentials === undefined) return;
    this.#add('token' in credentials ? credentials.token : credentials.password);
  }

  /** Adds the secret in this header. */
  authorization(authorization: Authorization | undefined): void {
    if (authorization?.isSecret) this.#add(authorization.value.slice(authorization.value.indexOf(' ') + 1));
  }

  /** The same error with the secrets removed, from its cause too. Errors other than OciError contain nothing of a server. */
  redacted(error: unknown): unknown {
    return error instanceof OciError ? this.error(error) : error;
  }

  error(error: OciError): OciError {
    if (!this.#isIn(inspect(error, { depth: 6 }))) return error;
    const { code, message, retryable, status, host, path, registryCode, retryAfterMs, cause } = error;
    const text = (value: string | undefined): string | undefined => value && this.text(value);
    return new OciError(code, this.text(message), {
      retryable,
      status,
      host: text(host),
      path: text(path),
      registryCode: text(registryCode),
      retryAfterMs,
      cause: cause === undefined ? undefined : new Error(this.text(String(cause))),
    });
  }

  text(text: string): string {
    let clean = text;
    for (const secret of this.#longestFirst()) {
      clean = clean.replaceAll(secret, REDACTED);
      for (const cut of CUTS)
        clean = clean.split(cut).reduce((before, after) => `${withoutBeginning(before, secret)}${cut}${after}`);
    }
    return clean;
  }

  /** Adds a secret, and the forms that it takes in a URL, in JSON and in a single line. */
  #add(secret: string): void {
    const forms = [
      secret,
      encodeURIComponent(secret),
      encodeURI(secret),
      JSON.stringify(secret).slice(1, -1),
      Buffer.from(secret).toString('base64'),
      secret.replace(/\s+/g, ' '),
      // As part of a host name.
      secret.toLowerCase(),
    ];
    for (const form of forms) if (form.length >= SHORTEST) this.#secrets.add(form);
  }

  #isIn(text: string): boolean {
    return this.text(text) !== text;
  }

  #longestFirst(): string[] {
    return [...this.#secrets].sort((one, other) => other.length - one.length);
  }
}

/** The text without the beginning of the secret that it ends with, if it does. */
function withoutBeginning(text: string, secret: string): string {
  const start = secret.slice(0, SHORTEST);
  for (let at = text.indexOf(start, text.length - secret.length); at >= 0; at = text.indexOf(start, at + 1)) {
    if (secret.startsWith(text.slice(at))) return `${text.slice(0, at)}${REDACTED}`;
  }
  return text;
}
