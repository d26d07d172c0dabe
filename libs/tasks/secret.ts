import { inspect } from 'node:util';

const redacted = '[redacted]';

/**
 * A text that must not show up in a log, an error or JSON: whatever prints it gets `[redacted]`. Only `reveal()` gives
 * the text, so that every use of it can be found.
 */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return redacted;
  }

  toJSON(): string {
    return redacted;
  }

  [inspect.custom](): string {
    return redacted;
  }

  /** `${secret}`, `secret + ''` */
  [Symbol.toPrimitive](): string {
    return redacted;
  }
}
