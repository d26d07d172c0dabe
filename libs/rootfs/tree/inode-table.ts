import { RootfsError } from '../error.ts';
import type { DataRuns, EntryType } from '../layer/entry.ts';
import type { ByteStrings } from './byte-strings.ts';
import { Float64Column, Uint32Column } from './column.ts';
import { TreeMemory } from './tree-memory.ts';

/** An inode's number in its tree, reused once the inode is removed. It is not the inode's number in a file system. */
export type Inode = number;

export type InodeType = Exclude<EntryType, 'link'>;

const TYPES: readonly InodeType[] = ['file', 'symlink', 'character-device', 'block-device', 'directory', 'fifo'];
const DIRECTORY = TYPES.indexOf('directory');
/** Bits of a mode; the type stands above them. */
const MODE_BITS = 12;
const MODE_MASK = 0o7777;

export type ExtendedAttributes = readonly (readonly [name: string, value: string])[];
const NO_ATTRIBUTES: ExtendedAttributes = [];

/** Most bytes of memory for the extended attributes of one image, and what each takes besides its name and value. */
const MAX_XATTR_BYTES = 2 ** 29;
const XATTR_OVERHEAD = 80;

/** The attributes of an inode that can be changed. */
export interface InodeAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** Sorted by name. */
  readonly xattrs: ExtendedAttributes;
}

/** The rest of a new inode. */
export interface InodeContent {
  /** Bytes of a regular file, and its runs in the data file of its layer. */
  readonly size: number;
  readonly runs: DataRuns;
  /** Of a symlink. */
  readonly target: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

/** The inodes of a tree, with a column for each attribute. Numbers start at 1; 0 means no inode. */
export class InodeTable {
  readonly #mode: Uint32Column;
  readonly #uid: Uint32Column;
  readonly #gid: Uint32Column;
  readonly #mtimeSeconds: Float64Column;
  readonly #mtimeNanoseconds: Uint32Column;
  readonly #size: Float64Column;
  readonly #layer: Uint32Column;
  readonly #names: Uint32Column;
  /** Of a file: its first run; of a symlink: its target. */
  readonly #content: Uint32Column;
  readonly #runs: RunTable;
  /** Maps, since few inodes have these. */
  readonly #devices = new Map<Inode, readonly [major: number, minor: number]>();
  readonly #xattrs = new Map<Inode, ExtendedAttributes>();
  #xattrBytes = 0;
  readonly #free: Inode[] = [];
  #strings: ByteStrings;
  #end = 1;

  /** @param strings holds the targets of symlinks */
  constructor(strings: ByteStrings, memory = new TreeMemory()) {
    this.#strings = strings;
    this.#mode = new Uint32Column(memory);
    this.#uid = new Uint32Column(memory);
    this.#gid = new Uint32Column(memory);
    this.#mtimeSeconds = new Float64Column(memory);
    this.#mtimeNanoseconds = new Uint32Column(memory);
    this.#size = new Float64Column(memory);
    this.#layer = new Uint32Column(memory);
    this.#names = new Uint32Column(memory);
    this.#content = new Uint32Column(memory);
    this.#runs = new RunTable(memory);
  }

  /** Number of inodes. */
  get count(): number {
    return this.#end - 1 - this.#free.length;
  }

  /** One more than the highest number in use. */
  get end(): number {
    return this.#end;
  }

  /** Adds an inode, without a name yet, that the layer with this number states (0 is the bottom one). */
  add(type: InodeType, attributes: InodeAttributes, layer: number, content: InodeContent): Inode {
    const inode = this.#free.pop() ?? this.#end++;
    this.#mode.set(inode, TYPES.indexOf(type) << MODE_BITS);
    this.setAttributes(inode, attributes);
    this.#size.set(inode, content.size);
    this.#layer.set(inode, layer);
    this.#names.set(inode, 0);
    this.#content.set(inode, 0);
    if (type === 'symlink') this.#content.set(inode, this.#strings.add(content.target));
    else if (type === 'file') this.#content.set(inode, this.#runs.add(content.runs));
    else if (type !== 'directory') this.#devices.set(inode, [content.deviceMajor, content.deviceMinor]);
    return inode;
  }

  /** @throws RootfsError `image_too_large` when there are too many extended attributes, which the number of entries does not limit */
  setAttributes(inode: Inode, attributes: InodeAttributes): void {
    this.#mode.set(inode, (this.#mode.get(inode) & ~MODE_MASK) | attributes.mode);
    this.#uid.set(inode, attributes.uid);
    this.#gid.set(inode, attributes.gid);
    this.#mtimeSeconds.set(inode, attributes.mtimeSeconds);
    this.#mtimeNanoseconds.set(inode, attributes.mtimeNanoseconds);
    this.#setXattrs(inode, attributes.xattrs);
  }

  #setXattrs(inode: Inode, xattrs: ExtendedAttributes): void {
    const before = this.xattrs(inode);
    if (xattrs.length > 0) this.#xattrs.set(inode, xattrs);
    else if (before.length > 0) this.#xattrs.delete(inode);
    this.#xattrBytes += memoryOf(xattrs) - memoryOf(before);
    if (this.#xattrBytes > MAX_XATTR_BYTES)
      throw new RootfsError(
        'image_too_large',
        `the extended attributes in the image take more than ${MAX_XATTR_BYTES} bytes`,
      );
  }

  /** Adds 1 or -1 to the number of names that refer to the inode, and returns it. */
  countName(inode: Inode, change: 1 | -1): number {
    const names = this.#names.get(inode) + change;
    this.#names.set(inode, names);
    return names;
  }

  /** Removes an inode that has no names left. */
  remove(inode: Inode): void {
    const type = this.type(inode);
    if (type === 'symlink') this.#strings.drop(this.#content.get(inode));
    else if (type === 'file') this.#runs.remove(this.#content.get(inode));
    this.#devices.delete(inode);
    this.#setXattrs(inode, NO_ATTRIBUTES);
    this.#free.push(inode);
  }

  /** Copies the targets of all symlinks to another list of strings, which is used from now on. */
  moveStrings(strings: ByteStrings): void {
    const old = this.#strings;
    this.#strings = strings;
    for (let inode = 1; inode < this.#end; inode++) {
      if (this.names(inode) > 0 && this.type(inode) === 'symlink')
        this.#content.set(inode, strings.addFrom(old, this.#content.get(inode)));
    }
  }

  type(inode: Inode): InodeType {
    return TYPES[this.#mode.get(inode) >> MODE_BITS] ?? 'file';
  }

  isDirectory(inode: Inode): boolean {
    return this.#mode.get(inode) >> MODE_BITS === DIRECTORY;
  }

  /** Permission bits with setuid, setgid and sticky (07777). */
  mode(inode: Inode): number {
    return this.#mode.get(inode) & MODE_MASK;
  }

  uid(inode: Inode): number {
    return this.#uid.get(inode);
  }

  gid(inode: Inode): number {
    return this.#gid.get(inode);
  }

  mtimeSeconds(inode: Inode): number {
    return this.#mtimeSeconds.get(inode);
  }

  mtimeNanoseconds(inode: Inode): number {
    return this.#mtimeNanoseconds.get(inode);
  }

  size(inode: Inode): number {
    return this.#size.get(inode);
  }

  layer(inode: Inode): number {
    return this.#layer.get(inode);
  }

  /** Number of names that refer to the inode; 1 for a directory. */
  names(inode: Inode): number {
    return this.#names.get(inode);
  }

  target(inode: Inode): string {
    return this.type(inode) === 'symlink' ? this.#strings.textOf(this.#content.get(inode)) : '';
  }

  targetLength(inode: Inode): number {
    return this.type(inode) === 'symlink' ? this.#strings.lengthOf(this.#content.get(inode)) : 0;
  }

  deviceMajor(inode: Inode): number {
    return this.#devices.get(inode)?.[0] ?? 0;
  }

  deviceMinor(inode: Inode): number {
    return this.#devices.get(inode)?.[1] ?? 0;
  }

  xattrs(inode: Inode): ExtendedAttributes {
    return this.#xattrs.get(inode) ?? NO_ATTRIBUTES;
  }

  /** The inodes that have extended attributes. */
  withXattrs(): Iterable<Inode> {
    return this.#xattrs.keys();
  }

  /** The first block of an inode's content in its layer's data file; undefined when it has none. */
  firstDataBlock(inode: Inode): number | undefined {
    const run = this.#firstRun(inode);
    return run === 0 ? undefined : this.#runs.dataBlock(run);
  }

  /** Calls with each run of a file's content, in order. */
  forEachRun(inode: Inode, call: (fileBlock: number, dataBlock: number, blocks: number) => void): void {
    for (let run = this.#firstRun(inode); run > 0; run = this.#runs.next(run))
      call(this.#runs.fileBlock(run), this.#runs.dataBlock(run), this.#runs.blocks(run));
  }

  #firstRun(inode: Inode): number {
    return this.type(inode) === 'file' ? this.#content.get(inode) : 0;
  }
}

function memoryOf(xattrs: ExtendedAttributes): number {
  let bytes = 0;
  for (const [name, value] of xattrs) bytes += name.length + value.length + XATTR_OVERHEAD;
  return bytes;
}

/** Runs of file content, those of one file in a linked list. Numbers start at 1; 0 means none. */
class RunTable {
  readonly #fileBlock: Uint32Column;
  readonly #dataBlock: Uint32Column;
  readonly #blocks: Uint32Column;
  readonly #next: Uint32Column;
  #free = 0;
  #end = 1;

  constructor(memory: TreeMemory) {
    this.#fileBlock = new Uint32Column(memory);
    this.#dataBlock = new Uint32Column(memory);
    this.#blocks = new Uint32Column(memory);
    this.#next = new Uint32Column(memory);
  }

  /** Adds a file's runs and returns the number of the first. */
  add(runs: DataRuns): number {
    let next = 0;
    for (let at = runs.length - 3; at >= 0; at -= 3) {
      const run = this.#take();
      this.#fileBlock.set(run, runs[at] ?? 0);
      this.#dataBlock.set(run, runs[at + 1] ?? 0);
      this.#blocks.set(run, runs[at + 2] ?? 0);
      this.#next.set(run, next);
      next = run;
    }
    return next;
  }

  /** Removes a file's runs, given the first. */
  remove(first: number): void {
    for (let run = first; run > 0; ) {
      const next = this.#next.get(run);
      this.#next.set(run, this.#free);
      this.#free = run;
      run = next;
    }
  }

  fileBlock(run: number): number {
    return this.#fileBlock.get(run);
  }

  dataBlock(run: number): number {
    return this.#dataBlock.get(run);
  }

  blocks(run: number): number {
    return this.#blocks.get(run);
  }

  next(run: number): number {
    return this.#next.get(run);
  }

  #take(): number {
    const run = this.#free;
    if (run === 0) return this.#end++;
    this.#free = this.#next.get(run);
    return run;
  }
}
