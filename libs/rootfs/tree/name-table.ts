import { randomFillSync } from 'node:crypto';
import { giveBack } from '../layer/chunk-memory.ts';
import type { ByteStrings } from './byte-strings.ts';
import { Uint32Column } from './column.ts';
import type { Inode } from './inode-table.ts';
import { TreeMemory } from './tree-memory.ts';

/** The number of a directory entry's name, reused once the name is removed; 0 means none. */
export type Name = number;

/** Bytes that are hashed: four of the directory's number, and up to 255 of the name. */
const HASHED_BYTES = 4 + 255;
const FIRST_BUCKET_BITS = 10;

/**
 * Multipliers of the hash, one for each byte: "multilinear" hashing, in which two names collide no more often than by chance (Lemire
 * and Kaser, "Strongly universal string hashing is fast"). They are random for each process, so that no layer can be crafted of names
 * that all collide. What is built does not depend on them.
 */
const MULTIPLIERS = randomFillSync(new Uint32Array(HASHED_BYTES));

/** The names in all directories of a tree: each refers to an inode; those of a directory form a list in the order they were added. */
export class NameTable {
  readonly #directory: Uint32Column;
  readonly #text: Uint32Column;
  readonly #inode: Uint32Column;
  readonly #layer: Uint32Column;
  /** The names before and after in the same directory. */
  readonly #previous: Uint32Column;
  readonly #next: Uint32Column;
  /** By inode: a directory's first name and its last. */
  readonly #first: Uint32Column;
  readonly #last: Uint32Column;
  /** The first name of each hash bucket; `#nextInBucket` links the others. */
  #buckets = new Uint32Array(2 ** FIRST_BUCKET_BITS);
  #bucketBits = FIRST_BUCKET_BITS;
  readonly #nextInBucket: Uint32Column;
  readonly #free: Name[] = [];
  #strings: ByteStrings;
  #end = 1;

  constructor(strings: ByteStrings, memory = new TreeMemory()) {
    this.#strings = strings;
    this.#directory = new Uint32Column(memory);
    this.#text = new Uint32Column(memory);
    this.#inode = new Uint32Column(memory);
    this.#layer = new Uint32Column(memory);
    this.#previous = new Uint32Column(memory);
    this.#next = new Uint32Column(memory);
    this.#first = new Uint32Column(memory);
    this.#last = new Uint32Column(memory);
    this.#nextInBucket = new Uint32Column(memory);
  }

  /** Number of names. */
  get count(): number {
    return this.#end - 1 - this.#free.length;
  }

  /** The directory's name with this text; 0 when there is none. */
  find(directory: Inode, text: string): Name {
    let name = this.#buckets[this.#bucketOf(directory, text)] ?? 0;
    while (name > 0 && !(this.#directory.get(name) === directory && this.#strings.isText(this.#text.get(name), text)))
      name = this.#nextInBucket.get(name);
    return name;
  }

  /** Adds a name, which must not exist yet, after the others of its directory. */
  add(directory: Inode, text: string, inode: Inode, layer: number): Name {
    const name = this.#free.pop() ?? this.#end++;
    this.#directory.set(name, directory);
    this.#text.set(name, this.#strings.add(text));
    this.#inode.set(name, inode);
    this.#layer.set(name, layer);
    const last = this.#last.get(directory);
    this.#previous.set(name, last);
    this.#next.set(name, 0);
    if (last > 0) this.#next.set(last, name);
    else this.#first.set(directory, name);
    this.#last.set(directory, name);
    if (this.#end > this.#buckets.length) this.#growBuckets();
    else this.#putInBucket(name, this.#bucketOf(directory, text));
    return name;
  }

  remove(name: Name): void {
    const directory = this.#directory.get(name);
    const previous = this.#previous.get(name);
    const next = this.#next.get(name);
    if (previous > 0) this.#next.set(previous, next);
    else this.#first.set(directory, next);
    if (next > 0) this.#previous.set(next, previous);
    else this.#last.set(directory, previous);
    this.#takeFromBucket(name);
    this.#strings.drop(this.#text.get(name));
    this.#directory.set(name, 0);
    this.#free.push(name);
  }

  /** Makes the name refer to another inode. */
  redirect(name: Name, inode: Inode): void {
    this.#inode.set(name, inode);
  }

  /** Records that a layer states the name. */
  touch(name: Name, layer: number): void {
    this.#layer.set(name, layer);
  }

  /** Copies the texts of all names to another list of strings, which is used from now on. */
  moveStrings(strings: ByteStrings): void {
    const old = this.#strings;
    this.#strings = strings;
    for (let name = 1; name < this.#end; name++) {
      if (this.#directory.get(name) > 0) this.#text.set(name, strings.addFrom(old, this.#text.get(name)));
    }
  }

  /** A directory's first name. */
  first(directory: Inode): Name {
    return this.#first.get(directory);
  }

  /** The name after this one in its directory. */
  next(name: Name): Name {
    return this.#next.get(name);
  }

  inode(name: Name): Inode {
    return this.#inode.get(name);
  }

  /** The last layer that states the name, or something below it. */
  layer(name: Name): number {
    return this.#layer.get(name);
  }

  /** The text of the name, one character per byte. */
  text(name: Name): string {
    return this.#strings.textOf(this.#text.get(name));
  }

  /** Bytes of the name. */
  length(name: Name): number {
    return this.#strings.lengthOf(this.#text.get(name));
  }

  /** The offset of the name's bytes in `strings`. */
  stringOf(name: Name): number {
    return this.#text.get(name);
  }

  /** The bytes of all names. */
  get strings(): ByteStrings {
    return this.#strings;
  }

  /** Frees the memory of the buckets; the rest belongs to the owner of the columns' memory. */
  release(): void {
    giveBack(this.#buckets);
  }

  #bucketOf(directory: Inode, text: string): number {
    let hash = 0;
    for (let i = 0; i < 4; i++) hash += Math.imul(MULTIPLIERS[i] ?? 0, (directory >>> (8 * i)) & 0xff);
    for (let i = 0; i < text.length; i++) hash = (hash + Math.imul(MULTIPLIERS[4 + i] ?? 0, text.charCodeAt(i))) | 0;
    // Only the upper bits are evenly distributed.
    return hash >>> (32 - this.#bucketBits);
  }

  #putInBucket(name: Name, bucket: number): void {
    this.#nextInBucket.set(name, this.#buckets[bucket] ?? 0);
    this.#buckets[bucket] = name;
  }

  #takeFromBucket(name: Name): void {
    const bucket = this.#bucketOf(this.#directory.get(name), this.text(name));
    const after = this.#nextInBucket.get(name);
    let before = this.#buckets[bucket] ?? 0;
    if (before === name) {
      this.#buckets[bucket] = after;
      return;
    }
    while (this.#nextInBucket.get(before) !== name) before = this.#nextInBucket.get(before);
    this.#nextInBucket.set(before, after);
  }

  #growBuckets(): void {
    this.#bucketBits += 1;
    giveBack(this.#buckets);
    this.#buckets = new Uint32Array(2 ** this.#bucketBits);
    for (let name = 1; name < this.#end; name++) {
      const directory = this.#directory.get(name);
      if (directory > 0) this.#putInBucket(name, this.#bucketOf(directory, this.text(name)));
    }
  }
}
