import { patternContent, sparseContent } from './content.ts';
import type { Fragment, TarEntry } from './tar-entry.ts';

/**
 * Layers with one of everything that an ext4 can hold, up to its limits: what the layers of real images hold, and what they could.
 * Each function is a corner of the tree; `bigTree` puts them into three layers.
 */

const SECOND = 1_000_000_000n;
const BLOCK = 4096;

const at = (directory: string, entries: Iterable<TarEntry>): TarEntry[] =>
  [...entries].map((entry) => ({
    ...entry,
    path: Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(entry.path)]),
  }));

const file = (path: string | Buffer, bytes = 0): TarEntry => ({
  path,
  type: 'file',
  content: patternContent(bytes, bytes + 1),
});
const directory = (path: string): TarEntry => ({ path, type: 'directory', mtime: 1_700_000_000n * SECOND + 5n });
const symlink = (path: string, target: string | Buffer): TarEntry => ({
  path,
  type: 'symlink',
  target,
  mtime: SECOND + 1n,
});
const range = (count: number, first = 0) => Array.from({ length: count }, (_, index) => first + index);
const number = (value: number) => String(value).padStart(5, '0');

/** Every byte that a name may have, names of every length, and names that look like something else. */
function names(): TarEntry[] {
  const slash = 0x2f;
  const bytes = range(255, 1).filter((byte) => byte !== slash && byte !== 0x2e);
  return [
    ...bytes.map((byte) => file(Buffer.from([byte]))),
    ...range(254, 2).map((length) => file('n'.repeat(length))),
    file(Buffer.alloc(255, 0xff)),
    file(Buffer.from([0xc3, 0x28, 0x0a, 0x09, 0x5c, 0x22])),
    ...['...', '..a', '.wh', '-rf', '*', ' ', '文件', 'lost+found'].map((name) => file(name)),
  ];
}

/** A directory of many blocks, most of its names of one length, some of the greatest. */
function manyFiles(count: number): TarEntry[] {
  return range(count).map((index) =>
    file(index % 500 === 0 ? number(index).padEnd(255, 'x') : `file-${number(index)}`, index % 10 === 0 ? 5 : 0),
  );
}

const alternating = (blocks: number): Fragment[] =>
  range(blocks).map((index) => ({ offset: 2 * index * BLOCK, length: BLOCK }));

/** Sizes around blocks, and files of so many extents that the tree of them has depth 1 and 2; one longer than an extent can be. */
function contents(): TarEntry[] {
  const sizes = [0, 1, 59, 60, 61, 511, 512, 4095, 4096, 4097, 8191, 12_288, 1_000_000];
  const extents = [1, 4, 5, 340, 341, 1360, 1361];
  return [
    ...sizes.map((size) => file(`size-${size}`, size)),
    ...extents.map(
      (count): TarEntry => ({
        path: `extents-${count}`,
        type: 'file',
        content: sparseContent(2 * count * BLOCK + 1, alternating(count), count),
      }),
    ),
    file('extent-after-extent', 130 * 1024 * 1024 + 7),
    { path: 'zeros', type: 'file', content: Buffer.alloc(1_000_000) },
    { path: 'zero-and-one', type: 'file', content: Buffer.concat([Buffer.alloc(3 * BLOCK), Buffer.from('1')]) },
  ];
}

/** Sparse files in each form of tar: of 5 GiB, of a hole only, with data around 2 and 4 GiB, of many fragments. */
function sparseFiles(): TarEntry[] {
  const gib = 1024 ** 3;
  const far = [0, 2 * gib - BLOCK, 2 * gib, 4 * gib - BLOCK, 4 * gib + BLOCK].map((offset) => ({
    offset,
    length: BLOCK,
  }));
  const content = sparseContent(5 * gib, [...far, { offset: 5 * gib - 512, length: 512 }], 5);
  return [
    ...(['pax-0.0', 'pax-0.1', 'pax-1.0'] as const).map(
      (sparse): TarEntry => ({ path: sparse, type: 'file', content, encoding: { sparse } }),
    ),
    { path: 'gnu', type: 'file', content, encoding: { format: 'gnu', sparse: 'gnu' } },
    { path: 'hole', type: 'file', content: sparseContent(16 * gib, [], 0), encoding: { sparse: 'pax-1.0' } },
    {
      path: 'odd',
      type: 'file',
      content: sparseContent(gib + 1, [{ offset: 512, length: 1024 }], 9),
      encoding: { sparse: 'pax-1.0' },
    },
    {
      path: 'fragments',
      type: 'file',
      content: sparseContent(gib, alternating(2000), 3),
      encoding: { format: 'gnu', sparse: 'gnu' },
    },
  ];
}

/** A path of 1,000 directories, some stated; one of 1,000 names of 255 bytes, far beyond PATH_MAX, of which only the last is. */
function deepPaths(depth: number): TarEntry[] {
  const long = range(depth).map((index) => number(index).padEnd(255, 'd'));
  return [
    ...range(depth / 20, 1).map((index) => directory('d/'.repeat(20 * index))),
    file(`${'d/'.repeat(depth)}bottom`, 5),
    file(`${long.join('/')}/bottom`, 6),
    symlink(`${long.join('/')}/symlink`, 'bottom'),
    { path: 'link-to-the-bottom', type: 'link', target: `deep/${long.join('/')}/bottom` },
  ];
}

/** On either side of the 60 bytes that fit the inode, up to the longest that Linux follows. */
function symlinks(): TarEntry[] {
  return [
    ...[1, 58, 59, 60, 61, 100, 101, 255, 256, 1023, 4095].map((length) =>
      symlink(`target-${length}`, 't'.repeat(length)),
    ),
    symlink('slashes', '/'.repeat(59)),
    symlink('bytes', Buffer.from([0xff, 0x20, 0x0a, 0xc3])),
  ];
}

/** A POSIX ACL as the kernel hands it out: version 2, then tag, permissions and id of each entry. acl(5), posix_acl_xattr.h */
function acl(entries: readonly (readonly [tag: number, permissions: number, id: number])[]): Buffer {
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2);
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + index * 8);
    bytes.writeUInt16LE(permissions, 6 + index * 8);
    bytes.writeUInt32LE(id, 8 + index * 8);
  }
  return bytes;
}

const NOBODY = 0xffff_ffff;
const someAcl = acl([
  [0x01, 6, NOBODY],
  [0x02, 7, 1000],
  [0x02, 4, 70_000],
  [0x04, 4, NOBODY],
  [0x08, 5, 100],
  [0x10, 7, NOBODY],
  [0x20, 4, NOBODY],
]);

/** In the inode, in a block, on the border of either, shared, of each namespace, on each type. */
function attributes(): TarEntry[] {
  const value = (length: number) => patternContent(length, length).read(0, length);
  const withAttributes = (path: string, type: TarEntry['type'], ...xattrs: [string, Buffer][]): TarEntry => ({
    path,
    type,
    xattrs,
  });
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  return [
    ...range(120, 1).map((length) => withAttributes(`value-${length}`, 'file', ['user.a', value(length)])),
    ...range(60, 1).map((length) =>
      withAttributes(`two-${length}`, 'file', ['user.a', value(length)], ['user.b', value(30)]),
    ),
    ...[200, 1000, 3999, 4000, 4039, 4040].map((length) =>
      withAttributes(`block-${length}`, 'file', ['user.a', value(length)]),
    ),
    ...range(4).map((index) =>
      withAttributes(`shared-${index}`, 'file', ['user.same', value(500)], ['trusted.same', value(300)]),
    ),
    withAttributes('long-name', 'file', [`user.${'x'.repeat(250)}`, value(3000)]),
    withAttributes('binary', 'file', ['user.binary', Buffer.from([0, 10, 61, 0, 255, 0])]),
    withAttributes(
      'sorted',
      'file',
      ...['user.zz', 'user.a', 'trusted.aaaa', 'security.b', 'user.aa'].map((name): [string, Buffer] => [
        name,
        value(9),
      ]),
    ),
    withAttributes('many', 'file', ...range(60).map((index): [string, Buffer] => [`user.n${index}`, value(index + 1)])),
    withAttributes('capability', 'file', ['security.capability', capability]),
    { ...withAttributes('acl', 'file', ['system.posix_acl_access', someAcl]), mode: 0o674 },
    {
      ...withAttributes('acl-and-more', 'file', ['system.posix_acl_access', someAcl], ['user.a', value(90)]),
      mode: 0o674,
    },
    {
      ...withAttributes(
        'acl-directory',
        'directory',
        ['system.posix_acl_access', someAcl],
        ['system.posix_acl_default', someAcl],
      ),
      mode: 0o2674,
    },
    withAttributes('directory', 'directory', ['user.a', value(10)], ['trusted.b', value(900)]),
    {
      ...withAttributes('symlink', 'symlink', ['trusted.a', value(10)], ['security.b', value(300)]),
      target: 'x'.repeat(70),
    },
    { ...withAttributes('fast-symlink', 'symlink', ['trusted.a', value(10)]), target: 'x' },
    { ...withAttributes('device', 'character-device', ['trusted.a', value(10)]), deviceMajor: 1, deviceMinor: 3 },
    withAttributes('fifo', 'fifo', ['trusted.a', value(200)]),
  ];
}

function times(): TarEntry[] {
  const seconds = [
    -(2n ** 31n),
    -86_400n,
    -1n,
    0n,
    1n,
    2n ** 31n - 1n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 33n,
    2n ** 34n - 2n ** 31n - 1n,
  ];
  return seconds.flatMap((second) =>
    [0n, 1n, 999_999_999n].map(
      (part): TarEntry => ({ path: `time-${second}-${part}`, type: 'file', mtime: second * SECOND + part }),
    ),
  );
}

function owners(): TarEntry[] {
  const ids = [0, 1, 65_534, 65_535, 65_536, 2_097_151, 2_097_152, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2];
  return ids.flatMap((id, index): TarEntry[] => [
    { path: `owner-${id}`, type: 'file', uid: id, gid: ids[ids.length - 1 - index] },
    { path: `owner-${id}-gnu`, type: 'directory', uid: id, gid: id, encoding: { format: 'gnu' } },
  ]);
}

function modes(): TarEntry[] {
  return [
    ...range(0o10000).map((mode): TarEntry => ({ path: `file-${mode.toString(8)}`, type: 'file', mode })),
    ...[0, 0o1777, 0o2755, 0o7777].map(
      (mode): TarEntry => ({ path: `directory-${mode.toString(8)}`, type: 'directory', mode }),
    ),
    ...[0, 0o666, 0o7777].map((mode): TarEntry => ({ path: `fifo-${mode.toString(8)}`, type: 'fifo', mode })),
  ];
}

function devices(): TarEntry[] {
  const numbers = [
    [0, 0],
    [1, 3],
    [255, 255],
    [255, 256],
    [256, 0],
    [8, 1_048_575],
    [4095, 0],
    [4095, 1_048_575],
  ] as const;
  return numbers.flatMap(([deviceMajor, deviceMinor]) =>
    (['character-device', 'block-device'] as const).map(
      (type): TarEntry => ({
        path: `${type}-${deviceMajor}-${deviceMinor}`,
        type,
        deviceMajor,
        deviceMinor,
        mode: 0o660,
        mtime: 7n,
      }),
    ),
  );
}

/** Three layers, the upper two of which link to, replace, hide and delete what is below. */
export function bigTree(): TarEntry[][] {
  const subdirectories = range(1000).map((index) => directory(`sub-${number(index)}/`));
  const bottom: TarEntry[] = [
    {
      path: './',
      type: 'directory',
      mode: 0o711,
      uid: 12,
      gid: 34,
      mtime: 1_234_567_890_123_456_789n,
      xattrs: [['trusted.root', Buffer.from('r')]],
    },
    ...at('names', names()),
    ...at('many', manyFiles(8000)),
    ...at('subdirectories', subdirectories),
    ...at('contents', contents()),
    ...at('sparse', sparseFiles()),
    ...at('deep', deepPaths(1000)),
    ...at('symlinks', symlinks()),
    ...at('attributes', attributes()),
    ...at('times', times()),
    ...at('owners', owners()),
    ...at('modes', modes()),
    ...at('devices', devices()),
    ...at('links', [file('first', 5000), symlink('symlink', 'first'), { path: 'fifo', type: 'fifo' }]),
    ...at('changes', [
      file('file/below', 3),
      file('directory', 3),
      file('kept/a', 1),
      file('kept/b', 2),
      file('hidden/a', 1),
      file('gone', 1),
    ]),
    symlink('lib', 'usr/lib'),
    file('lib/through-a-symlink', 9),
  ];
  const middle: TarEntry[] = [
    ...at('links', [
      ...range(1000).map((index): TarEntry => ({ path: `name-${number(index)}`, type: 'link', target: 'links/first' })),
      { path: 'symlink-again', type: 'link', target: './links/symlink' },
      { path: 'fifo-again', type: 'link', target: '/links/fifo' },
      { path: 'device-again', type: 'link', target: 'devices/block-device-8-1048575' },
      { path: 'attributes-again', type: 'link', target: 'attributes/acl' },
      { path: 'sparse-again', type: 'link', target: 'sparse/gnu' },
    ]),
    ...at('changes', [
      file('file', 4),
      directory('directory'),
      file('directory/inside', 2),
      file('.wh.gone'),
      file('hidden/b', 2),
      file('hidden/.wh..wh..opq'),
    ]),
    ...at(
      'many',
      range(800).map((index) => file(`.wh.file-${number(index * 10 + 3)}`)),
    ),
  ];
  const top: TarEntry[] = [
    ...at('links', [
      file('.wh.first'),
      file('name-00500', 77),
      { path: 'late', type: 'link', target: 'links/name-00999' },
    ]),
    ...at('changes', [
      directory('file'),
      file('file/again', 8),
      file('directory', 5),
      { ...directory('kept'), mode: 0o1700 },
    ]),
    ...at(
      'many',
      range(100).map((index) => ({
        ...file(`file-${number(index * 10 + 3)}`, 12),
        encoding: { format: 'ustar' } as const,
      })),
    ),
  ];
  return [bottom, middle, top];
}
