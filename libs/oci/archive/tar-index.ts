import type { FileHandle } from 'node:fs/promises';
import { posix } from 'node:path';
import { OciError } from '../error.ts';
import { cancelledError } from '../network-error.ts';

/** A piece of a file, in bytes. */
export interface Extent {
  readonly offset: number;
  readonly size: number;
}

const BLOCK = 512;
/** Longest record of attributes that is read; what is longer is no archive of an image. */
const EXTENSION_LIMIT = 1024 * 1024;
/** Linux' PATH_MAX. All names are held in memory. */
const NAME_LIMIT = 4096;
/** Attributes that count here. */
const PAX_KEYS = new Set(['path', 'linkpath', 'size', 'GNU.sparse.major']);
/** Archives of images have some hundred entries. */
const ENTRY_LIMIT = 100_000;
const LINK_DEPTH_LIMIT = 8;

/** Where each regular file of a tar stands in it. Links are followed; names are keys here, and never become paths. */
export class TarIndex {
  readonly #files = new Map<string, Extent>();
  readonly #links = new Map<string, string>();

  /**
   * Reads the headers alone, jumping over the contents (POSIX pax and GNU formats).
   *
   * @throws OciError `layer_corrupt` for what is no tar, or one that is cut short; `cancelled`
   */
  static async read(file: FileHandle, size: number, name: string, signal?: AbortSignal): Promise<TarIndex> {
    const index = new TarIndex();
    await new Scan(file, size, name).each((entry) => {
      if (signal?.aborted) throw cancelledError(signal);
      index.#add(entry);
    });
    return index;
  }

  find(name: string): Extent | undefined {
    let at = normalize(name);
    for (let depth = 0; depth < LINK_DEPTH_LIMIT; depth += 1) {
      const target = this.#links.get(at);
      if (target === undefined) return this.#files.get(at);
      at = target;
    }
    return undefined;
  }

  /** The last entry of a name counts, as for every reader of tars. */
  #add({ name, type, link, offset, size }: Entry): void {
    const key = normalize(name);
    this.#files.delete(key);
    this.#links.delete(key);
    if (type === '0' || type === '7') this.#files.set(key, { offset, size });
    // Hard links name an entry, symbolic links a place beside their own: old `docker save` has them for layers that are the same.
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
    // The blocks of zeros that end a tar may be left out.
    for (let position = 0; position < this.#size; ) {
      const header = await this.#read(position, BLOCK);
      if (header.every((byte) => byte === 0)) break;
      if (!hasChecksum(header)) throw this.#corrupt(position === 0 ? 'is no tar' : 'is damaged');
      count += 1;
      if (count > ENTRY_LIMIT) throw this.#corrupt(`has more than ${ENTRY_LIMIT} entries`);
      const type = text(header, 156, 1) || '0';
      const offset = position + BLOCK;
      const stated = type === 'x' || type === 'g' || type === 'L' || type === 'K' ? undefined : pax.get('size');
      const size =
        stated === undefined ? number(header, 124, 12) : /^[0-9]+$/.test(stated) ? Number(stated) : Number.NaN;
      if (!Number.isSafeInteger(size) || size < 0) throw this.#corrupt('is damaged');
      // Links and folders have no content, whatever size they state.
      const length = /[1-6]/.test(type) ? 0 : size;
      position = offset + Math.ceil(length / BLOCK) * BLOCK;
      if (offset + length > this.#size) throw this.#corrupt('is cut short');
      if (type === 'g') continue;
      if (type === 'x') {
        pax = new Map([...pax, ...paxRecords(await this.#extension(offset, size))]);
      } else if (type === 'L' || type === 'K') {
        pax.set(type === 'L' ? 'path' : 'linkpath', text(await this.#extension(offset, size), 0, size));
      } else {
        if (type === 'S' || pax.has('GNU.sparse.major'))
          throw this.#corrupt('holds sparse files, which images do not have');
        const prefix = text(header, 257, 5) === 'ustar' && header[262] === 0 ? text(header, 345, 155) : '';
        const short = prefix === '' ? text(header, 0, 100) : `${prefix}/${text(header, 0, 100)}`;
        const link = pax.get('linkpath') ?? text(header, 157, 100);
        const name = pax.get('path') ?? short;
        if (name.length > NAME_LIMIT || link.length > NAME_LIMIT) throw this.#corrupt('has a name that is too long');
        take({ name, type, link, offset, size: length });
        pax = new Map();
      }
    }
    if (count === 0) throw this.#corrupt('is empty');
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
      if (bytesRead === 0) throw this.#corrupt(position === 0 ? 'is no tar' : 'is cut short');
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

/** POSIX: the sum of the bytes, with the field itself taken as spaces. */
function hasChecksum(header: Buffer): boolean {
  let sum = 8 * 0x20;
  for (const [position, byte] of header.entries()) if (position < 148 || position >= 156) sum += byte;
  return number(header, 148, 8) === sum;
}

function text(bytes: Buffer, offset: number, length: number): string {
  const field = bytes.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}

/** Octal, or GNU's base 256 for what is too large for it. */
function number(bytes: Buffer, offset: number, length: number): number {
  if ((bytes.readUInt8(offset) & 0x80) !== 0) {
    let value = bytes.readUInt8(offset) & 0x7f;
    for (const byte of bytes.subarray(offset + 1, offset + length)) value = value * 256 + byte;
    return value;
  }
  const digits = text(bytes, offset, length).trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || '0', 8) : Number.NaN;
}

/** `LENGTH name=value\n`, the length counting the whole record. */
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
