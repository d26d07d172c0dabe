import type { DataRun } from '../layer/entry.ts';

export type InodeType = 'file' | 'symlink' | 'character-device' | 'block-device' | 'directory' | 'fifo';

/**
 * What a name stands for. Names live in the `children` of directories; an inode that several names lead to is a hard
 * link, and is gone when the last of them is.
 */
export interface Inode {
  readonly type: InodeType;
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  xattrs: readonly (readonly [name: string, value: string])[];
  /** Bytes of a regular file, and its runs in the data file of the layer with this number (0 is the bottom one). */
  readonly size: number;
  readonly runs: readonly DataRun[];
  readonly layer: number;
  readonly target: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Names that lead here; for a directory 1. */
  names: number;
  /** Of a directory, in the order in which they came; undefined for everything else. */
  readonly children: Map<string, Inode> | undefined;
}

/** A directory. */
export interface Directory extends Inode {
  readonly children: Map<string, Inode>;
}

/** A directory that no layer states: root's, 0755, of the epoch. */
export function newDirectory(mode = 0o755): Directory {
  return {
    type: 'directory',
    mode,
    uid: 0,
    gid: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    xattrs: [],
    size: 0,
    runs: [],
    layer: 0,
    target: '',
    deviceMajor: 0,
    deviceMinor: 0,
    names: 1,
    children: new Map(),
  };
}

export function isDirectory(inode: Inode | undefined): inode is Directory {
  return inode?.children !== undefined;
}
