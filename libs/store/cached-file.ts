import { stat } from 'node:fs/promises';
import { storing } from './error.ts';
import { ifThere } from './if-there.ts';
import { readText } from './text-file.ts';

/** The parsed content of a small file, read again when the file is replaced or changed. */
export class CachedFile<T> {
  readonly #path: string;
  readonly #what: string;
  readonly #parse: (text: string | undefined) => T;
  #cached: { readonly version: string; readonly value: T } | undefined;
  #look: Promise<T> | undefined;
  #nextLook: Promise<T> | undefined;

  /**
   * @param what the file has, for errors
   * @param parse gets undefined when there is no file
   */
  constructor(path: string, what: string, parse: (text: string | undefined) => T) {
    this.#path = path;
    this.#what = what;
    this.#parse = parse;
  }

  /**
   * The file's content at some moment after the call. Calls during a check share the next one: a `stat` is a round trip to another
   * thread, which under load would be made for each request (6 % of a short request).
   */
  read(): Promise<T> {
    if (this.#look === undefined) return this.#begin();
    this.#nextLook ??= this.#look.then(this.#begin, this.#begin);
    return this.#nextLook;
  }

  readonly #begin = (): Promise<T> => {
    this.#nextLook = undefined;
    const look = this.#readIfChanged();
    this.#look = look;
    const end = () => {
      if (this.#look === look) this.#look = undefined;
    };
    look.then(end, end);
    return look;
  };

  async #readIfChanged(): Promise<T> {
    // The version before the content, so that a change between the two is noticed the next time.
    const version = await storing(`look at ${this.#what}`, () => versionOf(this.#path));
    if (this.#cached?.version === version) return this.#cached.value;
    const value = this.#parse(await storing(`read ${this.#what}`, () => readText(this.#path)));
    this.#cached = { version, value };
    return value;
  }
}

async function versionOf(path: string): Promise<string> {
  const status = await ifThere(stat(path, { bigint: true }));
  return status === undefined ? 'none' : [status.ino, status.size, status.mtimeNs, status.ctimeNs].join(' ');
}
