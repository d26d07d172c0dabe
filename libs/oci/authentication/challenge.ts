/** One challenge of a `WWW-Authenticate` header: scheme in lower case, parameters by lower-case name. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const SPACE = /[ \t]*/y;
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)/y;

/**
 * Parses the challenges of a header value (RFC 9110, 11.6.1), which may hold several: commas both separate challenges and
 * appear within quoted scopes (`scope="repository:a/b:pull,push"`). The list ends at the first one that is malformed.
 */
export function parseChallenges(header: string): Challenge[] {
  const reader = new Reader(header);
  const challenges: Challenge[] = [];
  let parameters: Map<string, string> | undefined;
  for (;;) {
    reader.skipSeparators();
    const name = reader.take(TOKEN);
    if (name === undefined) return challenges;
    reader.take(SPACE);
    if (reader.takeText('=')) {
      const value = reader.value();
      if (parameters === undefined || value === undefined) return challenges;
      parameters.set(name.toLowerCase(), value);
      continue;
    }
    parameters = new Map();
    challenges.push({ scheme: name.toLowerCase(), parameters });
    // `Negotiate abc==`: of no use here, but the challenge after it may be.
    reader.take(TOKEN68);
  }
}

class Reader {
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.#text)?.[0];
    if (match === undefined) return undefined;
    this.#position += match.length;
    return match;
  }

  takeText(text: string): boolean {
    if (!this.#text.startsWith(text, this.#position)) return false;
    this.#position += text.length;
    return true;
  }

  skipSeparators(): void {
    while (/[ \t,]/.test(this.#text.charAt(this.#position))) this.#position += 1;
  }

  value(): string | undefined {
    this.take(SPACE);
    if (!this.takeText('"')) return this.take(TOKEN);
    let value = '';
    while (this.#position < this.#text.length) {
      const character = this.#text.charAt(this.#position);
      this.#position += 1;
      if (character === '"') return value;
      if (character !== '\\') {
        value += character;
        continue;
      }
      value += this.#text.charAt(this.#position);
      this.#position += 1;
    }
    return undefined;
  }
}
