import { inspect } from 'node:util';
import type { Credentials } from './credentials.ts';
import { OciError } from './error.ts';
import type { Authorization } from './http.ts';

const REDACTED = '[redacted]';
/** What is shorter cannot be told from the words of a message. */
const SHORTEST = 4;

/** The secrets that one call has shown to registries: a server that repeats one in its answer shall not bring it into an error or a log. */
export class Redaction {
  readonly #secrets = new Set<string>();

  credentials(credentials: Credentials | undefined): void {
    if (credentials === undefined) return;
    this.#add('token' in credentials ? credentials.token : credentials.password);
  }

  authorization(authorization: Authorization | undefined): void {
    if (authorization?.isSecret) this.#add(authorization.value.slice(authorization.value.indexOf(' ') + 1));
  }

  /** The same error, without them in its words, its place and its cause. Other errors are this side's own. */
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
      // Texts of servers are cut, perhaps within it; V8 cuts what it found to be no JSON.
      for (let length = secret.length - 1; length >= SHORTEST; length -= 1) {
        for (const end of ['…', '"...', '...']) {
          clean = clean.replaceAll(`${secret.slice(0, length)}${end}`, `${REDACTED}${end}`);
        }
      }
    }
    return clean;
  }

  /** With the forms that it has in a URL, in JSON and in one line. */
  #add(secret: string): void {
    const forms = [
      secret,
      encodeURIComponent(secret),
      encodeURI(secret),
      JSON.stringify(secret).slice(1, -1),
      Buffer.from(secret).toString('base64'),
      secret.replace(/\s+/g, ' '),
      // A host name is in lower case.
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
