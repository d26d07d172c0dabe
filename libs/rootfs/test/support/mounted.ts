import { execFile } from 'node:child_process';
import { access, constants, mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod';
import type { ListedNode } from './listing.ts';

const execute = promisify(execFile);

const run = (program: string, args: readonly string[], cwd?: string) =>
  execute(program, args, {
    cwd,
    // The distribution's Python before one that a version manager stands in front of, which takes ten times as long to start.
    env: { ...process.env, PATH: `/usr/bin:${process.env.PATH}` },
    maxBuffer: 1024 ** 3,
  });

/** Without what Python loads for interactive use and for packages, which is half of its start. */
const PYTHON = ['python3', '-I', '-S', '-c'] as const;

/**
 * Script of sh: checks the image `$1`, and runs a program of Python, `$3`, in it, while it is mounted on `$2`. One process, as to start
 * one costs a test whose memory is large more than mount itself does.
 */
const IN_CLEAN_IMAGE = `e2fsck -fn "$1" >&2 || exit
mount -t ext4 -o loop,ro,noload "$1" "$2" || exit
(cd "$2" && exec ${PYTHON.join(' ')} "$3")
status=$?
umount "$2" && exit $status`;

/**
 * Lists the tree of the working directory, a JSON line an entry, parents before children. It goes down by relative
 * steps, so paths may be longer than PATH_MAX. The digest is that of `contentDigest`. Python, because Node cannot read
 * extended attributes, names beyond PATH_MAX, or where a file's holes are.
 */
const LISTER = `
import errno, hashlib, json, os, stat, sys

BLOCK = 4096
ZEROS = bytes(BLOCK)

def digest(name, size):
    sha, data_blocks, at = hashlib.sha256(), 0, 0
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while at < size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as e:
                if e.errno == errno.ENXIO:
                    break
                raise
            at -= at % BLOCK
            end = os.lseek(fd, at, os.SEEK_HOLE)
            while at < end:
                # No more than there is: Python takes memory for all that is asked for, and gives it back, for each small file.
                chunk = os.pread(fd, min(end - at, 1 << 20), at)
                if not chunk:
                    raise OSError("short read")
                for i in range(0, len(chunk), BLOCK):
                    block = chunk[i:i + BLOCK].ljust(BLOCK, b"\\0")
                    if block != ZEROS:
                        sha.update(((at + i) // BLOCK).to_bytes(8, "little"))
                        sha.update(block)
                        data_blocks += 1
                at += len(chunk)
    finally:
        os.close(fd)
    return sha.hexdigest(), data_blocks

def entry(number, parent, name, path):
    st = os.lstat(path)
    row = dict(number=number, parent=parent, name=name.hex(), mode=st.st_mode, uid=st.st_uid, gid=st.st_gid, size=st.st_size,
               mtime=str(st.st_mtime_ns), major=os.major(st.st_rdev), minor=os.minor(st.st_rdev), links=st.st_nlink,
               inode=st.st_ino, allocated=st.st_blocks * 512, target="", digest="", dataBlocks=0)
    row["xattrs"] = [[n, os.getxattr(path, n, follow_symlinks=False).hex()] for n in os.listxattr(path, follow_symlinks=False)]
    if stat.S_ISLNK(st.st_mode):
        row["target"] = os.readlink(path).hex()
    if stat.S_ISREG(st.st_mode):
        row["digest"], row["dataBlocks"] = digest(path, st.st_size)
    sys.stdout.write(json.dumps(row) + "\\n")
    return stat.S_ISDIR(st.st_mode)

count = 0
entry(0, 0, b"", b".")
todo = [(0, 0, name) for name in os.listdir(b".")]
here = []
while todo:
    depth, parent, name = todo.pop()
    while len(here) > depth:
        os.chdir("..")
        here.pop()
    count += 1
    if entry(count, parent, name, name):
        os.chdir(name)
        here.append(name)
        todo.extend((depth + 1, count, child) for child in os.listdir(b"."))
`;

const row = z.object({
  number: z.number(),
  parent: z.number(),
  name: z.string(),
  mode: z.number(),
  uid: z.number(),
  gid: z.number(),
  size: z.number(),
  mtime: z.string(),
  major: z.number(),
  minor: z.number(),
  links: z.number(),
  inode: z.number(),
  allocated: z.number(),
  target: z.string(),
  digest: z.string(),
  dataBlocks: z.number(),
  xattrs: z.array(z.tuple([z.string(), z.string()])),
});

export interface MountedNode extends ListedNode {
  readonly children: Map<string, MountedNode>;
  readonly inode: number;
  /** Link count that the inode states. */
  readonly links: number;
  /** Bytes on disk, extent and attribute blocks included. */
  readonly allocatedBytes: number;
  /** Blocks of 4096 bytes with a byte other than zero. */
  readonly dataBlocks: number;
}

const types: Record<number, ListedNode['type']> = {
  1: 'fifo',
  2: 'character-device',
  4: 'directory',
  6: 'block-device',
  8: 'file',
  10: 'symlink',
  12: 'socket',
};

/** Fails, and says why, where files cannot be made with any owner and attribute. */
export function requireRoot(): void {
  if (process.getuid?.() !== 0) throw new Error('these tests set owners and attributes of files: run them as root');
}

/**
 * Fails, and says why, where images cannot be mounted: what the kernel says of them is not to be passed over. It mounts none itself: where
 * that does not work after all, each of the tests fails with what mount says.
 */
export async function requireMounts(): Promise<void> {
  try {
    if (process.getuid?.() !== 0) throw new Error('not root');
    await access('/dev/loop-control', constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new Error('these tests mount ext4 images: run them as root, with loop devices', { cause: error });
  }
}

/**
 * Mounts an ext4 image, or that of another file system, for as long as `use` runs; read-only and without replaying its journal, unless it
 * may be written. Needs root.
 */
export async function withMounted<T>(
  image: string,
  use: (directory: string) => Promise<T>,
  { writable = false, type = 'ext4' }: { readonly writable?: boolean; readonly type?: string } = {},
): Promise<T> {
  return await withMountPoint(async (directory) => {
    await run('mount', ['-t', type, '-o', writable ? 'loop' : 'loop,ro,noload', image, directory]);
    try {
      return await use(directory);
    } finally {
      await run('umount', [directory]);
    }
  });
}

async function withMountPoint<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-mount-'));
  try {
    return await use(directory);
  } finally {
    await rmdir(directory);
  }
}

/** What a program of Python prints in the image, mounted as by `withMounted`. Fails with what `e2fsck -fn` finds, if that is something. */
async function inCleanImage(image: string, program: string): Promise<string> {
  const { stdout } = await withMountPoint((directory) =>
    run('sh', ['-c', IN_CLEAN_IMAGE, 'sh', image, directory, program]),
  );
  return stdout;
}

/** What `e2fsck -fn` finds wrong with an image; '' when it is clean. */
export async function fileSystemFaults(image: string): Promise<string> {
  try {
    await run('e2fsck', ['-fn', image]);
    return '';
  } catch (error) {
    const failed = z.object({ code: z.number(), stdout: z.string(), stderr: z.string() }).safeParse(error);
    if (!failed.success) throw error;
    return `e2fsck -fn: exit ${failed.data.code}\n${failed.data.stdout}${failed.data.stderr}`;
  }
}

/** The tree in an ext4 image as the kernel shows it, without `lost+found`. Fails unless e2fsck finds the image clean. Needs root. */
export async function listImage(image: string): Promise<MountedNode> {
  const root = treeOf(await inCleanImage(image, LISTER));
  root.children.delete('lost+found');
  return root;
}

/** The tree of a directory as the kernel shows it. Extended attributes of all namespaces show only to root. */
export async function listDirectory(directory: string): Promise<MountedNode> {
  const [program, ...options] = PYTHON;
  const { stdout } = await run(program, [...options, LISTER], directory);
  return treeOf(stdout);
}

function treeOf(listing: string): MountedNode {
  const nodes: MountedNode[] = [];
  const byInode = new Map<number, MountedNode>();
  for (const line of listing.split('\n')) {
    if (line === '') continue;
    const entry = row.parse(JSON.parse(line));
    const node = byInode.get(entry.inode) ?? nodeOf(entry);
    byInode.set(entry.inode, node);
    nodes[entry.number] = node;
    if (entry.number > 0) nodes[entry.parent]?.children.set(byteString(entry.name), node);
  }
  const [root] = nodes;
  if (root === undefined) throw new Error('nothing is listed');
  return root;
}

function nodeOf(entry: z.infer<typeof row>): MountedNode {
  const type = types[entry.mode >> 12];
  if (type === undefined) throw new Error(`unknown file type in mode ${entry.mode.toString(8)}`);
  return {
    type,
    mode: entry.mode & 0o7777,
    uid: entry.uid,
    gid: entry.gid,
    mtime: BigInt(entry.mtime),
    size: type === 'file' ? entry.size : 0,
    digest: entry.digest,
    target: byteString(entry.target),
    deviceMajor: entry.major,
    deviceMinor: entry.minor,
    xattrs: new Map(entry.xattrs),
    children: new Map(),
    inode: entry.inode,
    links: entry.links,
    allocatedBytes: entry.allocated,
    dataBlocks: entry.dataBlocks,
  };
}

function byteString(hex: string): string {
  return Buffer.from(hex, 'hex').toString('latin1');
}
