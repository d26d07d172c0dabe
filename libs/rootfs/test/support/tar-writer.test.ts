import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { patternContent, sparseContent } from './content.ts';
import { writeLayer } from './layers.ts';
import { differences, type ListedNode } from './listing.ts';
import { listDirectory, requireRoot } from './mounted.ts';
import { modelTree } from './oci-model.ts';
import { bytesOf, contentSize, readContent, type TarEntry } from './tar-entry.ts';
import { paxBlocks, paxTime, tarBuffer, writeTar } from './tar-writer.ts';
import { withTemporaryDirectory } from './temporary-directory.ts';

const run = promisify(execFile);
const long = (length: number) =>
  'component/'
    .repeat(500)
    .slice(0, length - 1)
    .concat('x');
const second = 1_000_000_000n;
const holes = sparseContent(
  500_000,
  [
    ...Array.from({ length: 30 }, (_, index) => ({
      offset: 8192 * index + 4096,
      length: index % 2 === 0 ? 4096 : 512,
    })),
    { offset: 499_712, length: 288 },
  ],
  7,
);

const plain: TarEntry[] = [
  { path: 'dir/', type: 'directory', mode: 0o1777, uid: 7, gid: 8, mtime: 1_600_000_000n * second },
  { path: 'dir/file', type: 'file', mode: 0o4755, content: Buffer.from('content'), mtime: second },
  { path: 'dir/link', type: 'link', target: 'dir/file' },
  { path: 'dir/symlink', type: 'symlink', target: '../anywhere' },
  { path: 'fifo', type: 'fifo', mode: 0o600 },
];
const devices: TarEntry[] = [
  { path: 'null', type: 'character-device', mode: 0o666, deviceMajor: 1, deviceMinor: 3 },
  { path: 'disk', type: 'block-device', deviceMajor: 259, deviceMinor: 262_143 },
];
const inFormat =
  (format: 'v7' | 'ustar' | 'gnu' | 'pax', numbers?: 'octal' | 'octal-space' | 'base-256') =>
  (entry: TarEntry): TarEntry => ({ ...entry, encoding: { format, numbers } });

const cases: [name: string, entries: TarEntry[]][] = [
  ['v7', plain.slice(0, 4).map(inFormat('v7'))],
  ['v7, numbers ended by spaces', plain.slice(0, 4).map(inFormat('v7', 'octal-space'))],
  ['ustar', [...plain, ...devices].map(inFormat('ustar'))],
  [
    'ustar with a prefix',
    [{ path: long(250), type: 'file', content: Buffer.from('x'), encoding: { format: 'ustar' } }],
  ],
  ['gnu', [...plain, ...devices].map(inFormat('gnu'))],
  ['gnu, base-256 throughout', [...plain, ...devices].map(inFormat('gnu', 'base-256'))],
  [
    'gnu, long names and numbers',
    [
      { path: long(600), type: 'file', content: Buffer.from('x'), uid: 2 ** 31, gid: 2 ** 32 - 2, mtime: -5n * second },
      { path: `${long(101)}s`, type: 'symlink', target: long(4000), mtime: 2n ** 33n * second },
      { path: `${long(99)}h`, type: 'link', target: long(600) },
    ].map((entry) => inFormat('gnu')(entry as TarEntry)),
  ],
  [
    'pax',
    [
      ...plain,
      ...devices,
      {
        path: long(2000),
        type: 'file',
        content: Buffer.from('x'),
        uid: 2 ** 31,
        gid: 2 ** 32 - 2,
        mtime: -second / 2n,
      },
      { path: 'later', type: 'symlink', target: long(4000), mtime: 2n ** 33n * second + 123_456_789n },
      { path: 'before', type: 'file', mtime: -second * 5n - 1n },
      { path: Buffer.from([0x62, 0xff, 0x80, 0x0a]), type: 'file', content: Buffer.from('not UTF-8') },
      { path: 'héllo', type: 'directory', encoding: { forcedRecords: ['path', 'mtime', 'uid', 'gid', 'size'] } },
    ],
  ],
  [
    'extended attributes',
    [
      {
        path: 'attributes',
        type: 'file',
        xattrs: [
          ['user.text', Buffer.from('text')],
          ['trusted.binary', Buffer.from([1, 0, 10, 61, 255])],
          ['security.capability', Buffer.from('0100000200200000000000000000000000000000', 'hex')],
        ],
      },
      { path: 'directory', type: 'directory', xattrs: [['user.big', patternContent(2000, 3).read(0, 2000)]] },
    ],
  ],
  [
    'gnu, old sparse with extension blocks',
    [{ path: 'sparse', type: 'file', content: holes, encoding: { format: 'gnu', sparse: 'gnu' } }],
  ],
  ...(['pax-0.0', 'pax-0.1', 'pax-1.0'] as const).map((sparse): [string, TarEntry[]] => [
    `sparse ${sparse}`,
    [{ path: `dir/${long(150)}`, type: 'file', content: holes, mtime: 5n, encoding: { sparse } }],
  ]),
  [
    'sparse, a hole only',
    [{ path: 'hole', type: 'file', content: sparseContent(2 ** 33, [], 0), encoding: { sparse: 'pax-1.0' } }],
  ],
  [
    'checksums of signed bytes',
    [{ path: Buffer.from([0xe9, 0xff]), type: 'file', encoding: { format: 'gnu', checksum: 'signed' } }],
  ],
];

/**
 * Lists and unpacks each `N.tar` of the working directory: the list is `N.list`, the tree `trees/N`, complaints are in `N.said`. In one process, as is
 * the list of all trees: to start one takes longer than its work.
 */
const USE_TAR = `for archive in *.tar; do
  case=\${archive%.tar}
  exec 2>"$case.said"
  LC_ALL=C tar -tvf "$archive" --quoting-style=escape >"$case.list" || echo "tar -t: $?" >&2
  tar --xattrs --xattrs-include='*' --numeric-owner -p --delay-directory-restore --warning=no-timestamp \\
    -xf "$archive" -C "trees/$case" 2>unpacking || echo "tar -x: $? $(cat unpacking)" >&2
done`;

describe('tar', () => {
  let outcomes: { readonly list: string; readonly said: string; readonly tree: ListedNode | undefined }[];
  beforeAll(async () => {
    requireRoot();
    await withTemporaryDirectory(async (directory) => {
      for (const [index, [, entries]] of cases.entries()) {
        await writeTar(join(directory, `${index}.tar`), entries);
        await mkdir(join(directory, 'trees', `${index}`), { recursive: true });
      }
      await run('sh', ['-c', USE_TAR], { cwd: directory });
      const { children } = await listDirectory(join(directory, 'trees'));
      outcomes = await Promise.all(
        cases.map(async (_, index) => ({
          list: await readFile(join(directory, `${index}.list`), 'latin1'),
          said: await readFile(join(directory, `${index}.said`), 'latin1'),
          tree: children.get(`${index}`),
        })),
      );
    });
  });

  test.each(cases.map(([name, entries], index) => [name, entries, index] as const))(
    'reads, and unpacks as it is meant: %s',
    (_name, entries, index) => {
      const { list, said, tree } = outcomes[index] ?? {};
      expect(said).toBe('');
      expect(list?.trimEnd().split('\n')).toHaveLength(entries.length);
      const stated = new Set(entries.filter(({ type }) => type === 'directory').map((entry) => entry.mtime ?? 0n));
      const ignoreTime = ({ type, mtime }: ListedNode) => type === 'directory' && !stated.has(mtime ?? 0n);
      expect(tree && differences(tree, modelTree([entries]), { ignoreTime })).toEqual([]);
    },
  );
});

describe('the archive', () => {
  const entries: TarEntry[] = [{ path: 'a', type: 'file', content: Buffer.from('a') }];

  test('ends as asked, or where it is cut', () => {
    expect(tarBuffer(entries)).toHaveLength(4 * 512);
    expect(tarBuffer(entries, { endBlocks: 0 })).toHaveLength(2 * 512);
    expect(tarBuffer(entries, { cutAt: 700 })).toEqual(tarBuffer(entries).subarray(0, 700));
  });

  test('in a file is the same as in memory, also when its content is made as it goes', async () => {
    await withTemporaryDirectory(async (directory) => {
      const content = patternContent(5_000_001, 1);
      const items = [
        ...entries,
        { raw: Buffer.concat([...paxBlocks('g', 'global', [['comment', 'x']])]) },
        { path: 'b', type: 'file', content } as const,
      ];
      const path = join(directory, 'archive.tar');
      await writeTar(path, items);
      expect((await readFile(path)).equals(tarBuffer(items))).toBe(true);
    });
  });

  test('refuses what a form cannot hold', () => {
    const wrong: TarEntry[] = [
      { path: long(300), type: 'file', encoding: { format: 'ustar' } },
      { path: 'a', type: 'file', uid: 8 ** 7, encoding: { format: 'ustar' } },
      { path: 'a', type: 'file', mtime: 1n, encoding: { format: 'gnu' } },
      { path: 'a', type: 'file', xattrs: [['user.a', Buffer.from('a')]], encoding: { format: 'gnu' } },
      { path: 'a', type: 'file', encoding: { sparse: 'gnu' } },
    ];
    for (const entry of wrong) expect(() => tarBuffer([entry])).toThrow();
  });

  test('states times as POSIX wants them', () => {
    expect(paxTime(0n)).toBe('0');
    expect(paxTime(1_500_000_000n)).toBe('1.5');
    expect(paxTime(-1n)).toBe('-0.000000001');
    expect(paxTime(-1_500_000_000n)).toBe('-1.5');
  });

  test('is compressed as asked', async () => {
    await withTemporaryDirectory(async (directory) => {
      const gzip = await writeLayer(join(directory, 'a.gz'), entries, { compression: 'gzip' });
      expect(gunzipSync(await readFile(gzip.path)).equals(tarBuffer(entries))).toBe(true);
      const zstd = await writeLayer(join(directory, 'a.zst'), entries, { compression: 'zstd' });
      expect(zstd.diffId).toBe(gzip.diffId);
      expect((await readFile(zstd.path)).includes(tarBuffer(entries))).toBe(true);
    });
  });
});

test('content is the same however it is read', async () => {
  await withTemporaryDirectory(async (directory) => {
    for (const content of [patternContent(10_000, 5), holes]) {
      const whole = readContent(content, 0, contentSize(content));
      await writeFile(join(directory, 'content'), whole);
      for (const [offset, length] of [
        [0, 1],
        [7, 9],
        [4095, 4098],
        [9_999, 1],
      ] as const) {
        expect(readContent(content, offset, length).equals(whole.subarray(offset, offset + length))).toBe(true);
      }
    }
    expect(bytesOf('é')).toHaveLength(2);
  });
});
