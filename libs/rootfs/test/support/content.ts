import { createHash } from 'node:crypto';
import {
  type Content,
  contentFragments,
  contentSize,
  type Fragment,
  type GeneratedContent,
  readContent,
} from './tar-entry.ts';

const BLOCK = 4096;
const CHUNK = 1024 * 1024;
const zeros = Buffer.alloc(BLOCK);

/** Content that differs at every offset and with every seed: a wrong, swapped or shifted block shows. */
export function patternContent(size: number, seed: number): GeneratedContent {
  return { size, read: (offset, length) => patternBytes(offset, length, seed) };
}

/** As `patternContent`, with zeros everywhere but in the fragments. */
export function sparseContent(size: number, fragments: readonly Fragment[], seed: number): GeneratedContent {
  return {
    size,
    fragments,
    read: (offset, length) => {
      const bytes = Buffer.alloc(length);
      for (const fragment of fragments) {
        if (fragment.offset + fragment.length <= offset) continue;
        if (fragment.offset >= offset + length) break;
        const start = Math.max(offset, fragment.offset);
        const end = Math.min(offset + length, fragment.offset + fragment.length);
        patternBytes(start, end - start, seed).copy(bytes, start - offset);
      }
      return bytes;
    },
  };
}

function patternBytes(offset: number, length: number, seed: number): Buffer {
  const first = Math.floor(offset / 8);
  const words = new Uint32Array(2 * (Math.ceil((offset + length) / 8) - first));
  for (let at = 0; at < words.length; at += 2) {
    words[at] = Math.imul(first + at / 2 + 1, 0x9e3779b1) ^ seed;
    words[at + 1] = first + at / 2 + 0x5a000000;
  }
  return Buffer.from(words.buffer).subarray(offset - first * 8, offset - first * 8 + length);
}

export interface ContentDigest {
  /** SHA-256, in hex, over each 4096-byte block that holds a byte other than zero: its number (8 bytes, little-endian), then the block. */
  readonly digest: string;
  /** How many blocks hold a byte other than zero. */
  readonly dataBlocks: number;
}

const digests = new WeakMap<Buffer | GeneratedContent, ContentDigest>();

/** `digestOf`, taken once for each object: a random stack is applied to the model several times. */
export function contentDigest(content: Content | undefined): ContentDigest {
  if (content === undefined) return digestOf(content);
  const known = digests.get(content) ?? digestOf(content);
  digests.set(content, known);
  return known;
}

/**
 * A digest of a file's content that passes over blocks of zeros, so that a file of gigabytes with a few blocks of data
 * costs what these cost. With the file's size it says as much as a digest of all bytes. `mounted.ts` takes the same.
 */
function digestOf(content: Content | undefined): ContentDigest {
  const hash = createHash('sha256');
  const number = Buffer.alloc(8);
  let dataBlocks = 0;
  let next = 0;
  for (const fragment of contentFragments(content)) {
    const end = Math.ceil((fragment.offset + fragment.length) / BLOCK);
    let block = Math.max(next, Math.floor(fragment.offset / BLOCK));
    while (content !== undefined && block < end) {
      const count = Math.min(CHUNK / BLOCK, end - block);
      const bytes = readContent(content, block * BLOCK, Math.min(count * BLOCK, contentSize(content) - block * BLOCK));
      for (let at = 0; at < bytes.length; at += BLOCK) {
        const data = bytes.subarray(at, at + BLOCK);
        if (data.equals(zeros.subarray(0, data.length))) continue;
        number.writeUIntLE(block + at / BLOCK, 0, 6);
        hash.update(number).update(data).update(zeros.subarray(data.length));
        dataBlocks += 1;
      }
      block += count;
    }
    next = Math.max(next, end);
  }
  return { digest: hash.digest('hex'), dataBlocks };
}
