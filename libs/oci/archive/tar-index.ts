import type { FileHandle } from 'node:fs/promises';
import { posix } from 'node:path';
import { cancelledError } from '../cancellation.ts';
import { OciError } from '../error.ts';

/** A range of a file, in bytes. */
export interface Extent {
  readonly offset: number;
  readonly size: number;
}

const BLOCK = 512;
/** Most bytes of an extended header; no image archive has longer ones. */
const EXTENSION_LIMIT = 1024 * 1024;
/** Linux's PATH_MAX, since all names are held in memory. */
const NAME_LIMIT = 4096;
/** The PAX keywords that matter here. */
const PAX_KEYS = new Set(['path', 'linkpath', 'size', 'GNU.sparse.major']);
/** Image archives have some hundred entries, with names of some 75 characters. */
const ENTRY_LIMIT = 100_000;
/** Most characters of all names and links: with the limits of each alone, a small archive would take hundreds of megabytes. */
const NAMES_LIMIT = 16 * 1024 * 1024;
const LINK_DEPTH_LIMIT = 8;

/** The location of each regular file in a tar. Links are followed; names are only keys, and never become paths. */
export class TarIndex {
  readonly #files = new Map<string, Extent>();
  readonly #links = new Map<string, string>();

  /**
   * Reads only the headers, skipping the contents (POSIX pax and GNU formats).
   *
   * @param size bytes of the file
   * @param name what errors call it
   * @throws OciError `layer_corrupt` for a file that is not a tar, or is cut short; `cancelled`
   */
  static async read(file: FileHandle, size: number, name: string, signal?: AbortSignal): Promise<TarIndex> {
    const index = new TarIndex();
    await new Scan(file, size, name).each((entry) => {
      if (signal?.aborted) throw cancelledError(signal);
      index.#add(entry);
    });
    return index;
  }

  /** The content of the file with this name; undefined when there is none. */
  find(name: string): Extent | undefined {
    let at = normalize(name);
    for (let depth = 0; depth < LINK_DEPTH_LIMIT; depth += 1) {
      const target = this.#links.get(at);
      if (target === undefined) return this.#files.get(at);
      at = target;
    }
    return undefined;
  }

  /** The last entry of a name counts, as for every tar reader. */
  #add({ name, type, link, offset, size }: Entry): void {
    const key = normalize(name);
    this.#files.delete(key);
    this.#links.delete(key);
    if (type === '0' || type === '7') this.#files.set(key, { offset, size });
    // A hard link's target is an entry's name, a symlink's is relative to its folder. Old `docker save` links identical layers.
    if (type === '1') this.#links.set(key, normalize(link));
    if (type === '2') this.#links.set(key, normalize(posix.join(posix.dirname(key), link)));
  }
}

interface Entry extends Extent {
  readonly name: string;
  readonly type: string;
  readonly link: string;
}

class Scan {
  readonly #file: FileHandle;
  readonly #size: number;
  readonly #name: string;

  constructor(file: FileHandle, size: number, name: string) {
    this.#file = file;
    this.#size = size;
    this.#name = name;
  }

  async each(take: (entry: Entry) => void): Promise<void> {
    let pax = new Map<string, string>();
    let count = 0;
    let names = 0;
    // The blocks of zeros that end a tar may be missing.
    for (let position = 0; position < this.#size; ) {
      const header = await this.#read(position, BLOCK);
      if (header.every((byte) => byte === 0)) break;
      if (!hasChecksum(header)) throw this.#corrupt(position === 0 ? 'is not a tar' : 'is damaged');
      count += 1;
      if (count > ENTRY_LIMIT) throw this.#corrupt(`has more than ${ENTRY_LIMIT} entries`);
      const type = text(header, 156, 1) || '0';
      const offset = position + BLOCK;
      const stated = statedSize(header, type, pax.get('size'));
      if (!Number.isSafeInteger(stated) || stated < 0) throw this.#corrupt('is damaged');
      // Links, folders and devices have no content, whatever size they state.
      const size = /[1-6]/.test(type) ? 0 : stated;
      position = offset + Math.ceil(size / BLOCK) * BLOCK;
      if (offset + size > this.#size) throw this.#corrupt('is cut short');
      if (type === 'g') continue;
      if (type === 'x') {
        pax = new Map([...pax, ...paxRecords(await this.#extension(offset, size))]);
      } else if (type === 'L' || type === 'K') {
        pax.set(type === 'L' ? 'path' : 'linkpath', text(await this.#extension(offset, size), 0, size));
      } else {
        const entry = this.#entry(header, type, pax, { offset, size });
        names += entry.name.length + entry.link.length;
        if (names > NAMES_LIMIT) throw this.#corrupt(`has more than ${NAMES_LIMIT} characters of names`);
        take(entry);
        pax = new Map();
      }
    }
    if (count === 0) throw this.#corrupt('is empty');
  }

  #entry(header: Buffer, type: string, pax: ReadonlyMap<string, string>, content: Extent): Entry {
    if (type === 'S' || pax.has('GNU.sparse.major'))
      throw this.#corrupt('holds sparse files, which images do not have');
    const link = pax.get('linkpath') ?? text(header, 157, 100);
    const name = pax.get('path') ?? headerName(header);
    if (name.length > NAME_LIMIT || link.length > NAME_LIMIT) throw this.#corrupt('has a name that is too long');
    return { name, type, link, ...content };
  }

  async #extension(offset: number, size: number): Promise<Buffer> {
    if (size > EXTENSION_LIMIT) throw this.#corrupt('has attributes that are too long');
    return this.#read(offset, size);
  }

  async #read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.alloc(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.#file.read(buffer, done, length - done, position + done);
      if (bytesRead === 0) throw this.#corrupt(position === 0 ? 'is not a tar' : 'is cut short');
      done += bytesRead;
    }
    return buffer;
  }

  #corrupt(what: string): OciError {
    return new OciError('layer_corrupt', `${this.#name} ${what}`);
  }
}

function normalize(name: string): string {
  return posix.normalize(`/${name}`).replace(/^\/+|\/+$/g, '');
}

/** POSIX: the checksum is the sum of the header's bytes, with its own field counted as spaces. */
function hasChecksum(header: Buffer): boolean {
  let sum = 8 * 0x20;
  for (const [position, byte] of header.entries()) if (position < 148 || position >= 156) sum += byte;
  return number(header, 148, 8) === sum;
}

/** The size that a header states, or the PAX size, which is not that of an extension header; NaN when malformed. */
function statedSize(header: Buffer, type: string, pax: string | undefined): number {
  if (pax === undefined || 'xgLK'.includes(type)) return number(header, 124, 12);
  return /^[0-9]+$/.test(pax) ? Number(pax) : Number.NaN;
}

/** The name in a header itself; in the ustar format a prefix precedes it. */
function headerName(header: Buffer): string {
  const prefix = text(header, 257, 5) === 'ustar' && header[262] === 0 ? text(header, 345, 155) : '';
  const name = text(header, 0, 100);
  return prefix === '' ? name : `${prefix}/${name}`;
}

function text(bytes: Buffer, offset: number, length: number): string {
  const field = bytes.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}

/** An octal number, or in GNU's base 256 where it is too large for that. */
function number(bytes: Buffer, offset: number, length: number): number {
  if ((bytes.readUInt8(offset) & 0x80) !== 0) {
    let value = bytes.readUInt8(offset) & 0x7f;
    for (const byte of bytes.subarray(offset + 1, offset + length)) value = value * 256 + byte;
    return value;
  }
  const digits = text(bytes, offset, length).trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || '0', 8) : Number.NaN;
}

/** Records of a PAX header: `LENGTH name=value\n`, where LENGTH counts the whole record. */
function paxRecords(bytes: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let position = 0; position < bytes.length; ) {
    const space = bytes.indexOf(0x20, position);
    const length = space < 0 ? Number.NaN : Number(bytes.toString('latin1', position, space));
    if (!Number.isSafeInteger(length) || length <= 0) break;
    const record = bytes.toString('utf8', space + 1, position + length - 1);
    const equals = record.indexOf('=');
    const key = record.slice(0, equals);
    if (PAX_KEYS.has(key)) records.set(key, record.slice(equals + 1));
    position += length;
  }
  return records;
}
