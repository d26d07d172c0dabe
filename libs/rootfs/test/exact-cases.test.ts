import { beforeAll, describe, expect, test } from '@jest/globals';
import { sparseContent } from './support/content.ts';
import { expectModelAsUmoci, unpackedAndModel } from './support/expect-as-umoci.ts';
import { expectExact, mountedAndModel } from './support/expect-exact.ts';
import { differences, type ListedNode } from './support/listing.ts';
import { requireMounts } from './support/mounted.ts';
import { bytesOf, type SparseFormat, type TarEntry } from './support/tar-entry.ts';
import { whyNoUmoci } from './support/umoci.ts';

/**
 * What images hold that unpackers get wrong, by name. All cases are built and mounted by the kernel, and unpacked by umoci; both must
 * be what the model says. `big-tree.ts` has the ranges of each attribute, the random stacks the combinations.
 */
const SECOND = 1_000_000_000n;
const BLOCK = 4096;

const file = (path: TarEntry['path'], more: Partial<TarEntry> = {}): TarEntry => ({
  path,
  type: 'file',
  content: Buffer.from(`content of ${path.toString('latin1')}`),
  mtime: 5n * SECOND,
  ...more,
});
const directory = (path: string, more: Partial<TarEntry> = {}): TarEntry => ({ path, type: 'directory', ...more });
const symlink = (path: string, target: string, more: Partial<TarEntry> = {}): TarEntry => ({
  path,
  type: 'symlink',
  target,
  ...more,
});
const link = (path: string, target: string, more: Partial<TarEntry> = {}): TarEntry => ({
  path,
  type: 'link',
  target,
  ...more,
});
const gnu = { encoding: { format: 'gnu' } } as const;
const sparse = (form: SparseFormat): TarEntry =>
  file(`sparse-${form}`, {
    content: sparseContent(
      1_000_001,
      [0, 7 * BLOCK, 100 * BLOCK, 200 * BLOCK].map((offset) => ({
        offset,
        length: 512,
      })),
      1,
    ),
    encoding: form === 'gnu' ? { format: 'gnu', sparse: form } : { sparse: form },
  });
/** Its map takes the header, with 4 of its fragments, and three blocks, with 21 each. */
const inPieces = file('in-pieces', {
  content: sparseContent(
    1_000_001,
    Array.from({ length: 60 }, (_, piece) => ({ offset: 2 * piece * BLOCK, length: 512 })),
    1,
  ),
  encoding: { format: 'gnu', sparse: 'gnu' },
});
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
const acl = Buffer.from(
  '0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000400ffffffff',
  'hex',
);
const plainAcl = Buffer.from('0200000001000600ffffffff04000400ffffffff20000000ffffffff', 'hex');
const maskAcl = Buffer.from('0200000001000600ffffffff04000700ffffffff10000500ffffffff20000000ffffffff', 'hex');
const name = 'n'.repeat(255);
const starPrefix = `${'p'.repeat(65)}/${'q'.repeat(65)}`;
const fieldOf = (text: string, length: number) =>
  Buffer.concat([Buffer.from(text), Buffer.alloc(length - text.length)]);

interface CaseOptions {
  /** Needs an image of its own: it is about the root, or about how deep things are. */
  readonly alone?: true;
  /** Names the root in its bytes: its entries lie there, beside the directories of the others. */
  readonly inRoot?: true;
  readonly umociCannot?: true;
}

type Case = readonly [what: string, layers: readonly TarEntry[][], options?: CaseOptions];

const cases: readonly Case[] = [
  [
    'GNU long names and links',
    [
      [
        directory(`${name}/`, gnu),
        file(`${name}/${name}`, gnu),
        link('hard', `${name}/${name}`, gnu),
        symlink('soft', `${name}/${name}`, gnu),
      ],
    ],
  ],
  [
    'PAX long names and links',
    [
      [
        directory(name),
        file(`${name}/${name}`),
        link('hard', `${name}/${name}`),
        symlink('soft', 't'.repeat(4000)),
        file('forced', { encoding: { forcedRecords: ['path', 'size', 'mtime', 'uid', 'gid'] } }),
      ],
    ],
  ],
  [
    'headers as old writers made them: NULs before a number, a prefix beside the magic of GNU, that of star, numbers of a v7 device, owners below 0',
    [
      [
        file('nuls', { mode: 0o600, encoding: { fields: { mode: Buffer.from('\0' + '000600\0', 'latin1') } } }),
        file('some/prefix/go', {
          encoding: { format: 'gnu', fields: { name: fieldOf('go', 100), prefix: Buffer.from('some/prefix') } },
        }),
        file('no-prefix', {
          encoding: { format: 'gnu', fields: { prefix: Buffer.from('00000000017\0' + '0000000001 ') } },
        }),
        file(`${starPrefix}/star`, {
          encoding: {
            fields: {
              name: fieldOf('star', 100),
              prefix: Buffer.from(`${starPrefix}${'00000000017\0'.repeat(2)}${'\0'.repeat(8)}tar\0`),
            },
          },
        }),
        {
          path: 'v7',
          type: 'character-device',
          encoding: {
            format: 'v7',
            fields: { deviceMajor: Buffer.from('0000001\0'), deviceMinor: Buffer.from('0000003\0') },
          },
        },
        file('below-0', { uid: 2 ** 32 - 2, encoding: { extraRecords: [['uid', '-2']] } }),
        file('base-256-below-0', {
          gid: 2 ** 31,
          encoding: { format: 'gnu', fields: { gid: Buffer.from('ffffffff80000000', 'hex') } },
        }),
      ],
    ],
    { inRoot: true },
  ],
  [
    'PAX records that an empty one cancels: the header counts',
    [
      [
        file('cancelled', {
          uid: 3,
          encoding: {
            extraRecords: [
              ['uid', '7'],
              ['uid', ''],
              ['mtime', '8'],
              ['mtime', ''],
            ],
          },
        }),
      ],
    ],
  ],
  [
    'PAX sparse files that name their version, and records of versions to come, which are nothing',
    [
      [
        file('with-version', {
          content: sparseContent(20_000, [{ offset: 8192, length: 512 }], 1),
          encoding: {
            sparse: 'pax-0.0',
            extraRecords: [
              ['GNU.sparse.major', '0'],
              ['GNU.sparse.minor', '0'],
            ],
          },
        }),
        file('to-come', {
          encoding: {
            extraRecords: [
              ['GNU.sparse.major', '2'],
              ['GNU.sparse.minor', '0'],
              ['GNU.sparse.name', 'another'],
              ['GNU.sparse.realsize', '9000'],
            ],
          },
        }),
        file('named', { encoding: { extraRecords: [['GNU.sparse.name', 'another']] } }),
      ],
    ],
  ],
  [
    'names and targets in both long forms, of which those of GNU hold',
    [
      [
        file(name, { encoding: { format: 'gnu', extraRecords: [['path', 'pax']] } }),
        symlink('soft', 't'.repeat(200), { encoding: { format: 'gnu', extraRecords: [['linkpath', 'pax']] } }),
      ],
    ],
  ],
  [
    'a tree 4,096 names deep, each of 255 bytes',
    [[file(`${`${name}/`.repeat(4095)}bottom`)], [file(`${`${name}/`.repeat(4095)}.wh.bottom`), file('a')]],
    { alone: true, umociCannot: true },
  ],
  [
    'base-256 numbers',
    [
      [
        file('f', {
          uid: 3_000_000,
          gid: 2 ** 31,
          mtime: 2n ** 33n * SECOND,
          encoding: { format: 'gnu', numbers: 'base-256' },
        }),
        file('before', { mtime: -5n * SECOND, encoding: { format: 'gnu', numbers: 'base-256' } }),
      ],
    ],
  ],
  [
    'PAX times in nanoseconds, before 1970 and after 2038',
    [
      [
        1_700_000_000_123_456_789n,
        -1n,
        -1_500_000_000n,
        2n ** 31n * SECOND + 1n,
        2n ** 32n * SECOND + 999_999_999n,
      ].map((mtime, index) => file(`f${index}`, { mtime })),
    ],
  ],
  ['GNU sparse files', [[sparse('gnu'), inPieces, file('after')]], { umociCannot: true }],
  ['PAX sparse files', [[sparse('pax-0.0'), sparse('pax-0.1'), sparse('pax-1.0'), file('after')]]],
  [
    'capabilities, ACLs, user attributes, binary values, and values that need a block',
    [
      [
        file('ping', { mode: 0o755, xattrs: [['security.capability', capability]] }),
        file('acl', { mode: 0o674, xattrs: [['system.posix_acl_access', acl]] }),
        directory('inherits', { xattrs: [['system.posix_acl_default', acl]] }),
        file('binary', { xattrs: [['user.binary', Buffer.from([0, 10, 61, 255, 0])]] }),
        file('block', { xattrs: [['user.large', Buffer.alloc(3500, 7)]] }),
        file('empty', { xattrs: [['user.empty', Buffer.alloc(0)]] }),
        file('named', {
          xattrs: [
            ['user.ñ', Buffer.from('short')],
            ['user.文', Buffer.alloc(300, 1)],
          ],
        }),
      ],
      // What an upper layer replaces has the upper layer's attributes only.
      [file('binary'), directory('inherits')],
    ],
  ],
  [
    'access ACLs that the mode does not agree with, and those that say no more than a mode',
    [
      [
        file('masked', { mode: 0o4600, xattrs: [['system.posix_acl_access', acl]] }),
        directory('folder', { mode: 0o1700, xattrs: [['system.posix_acl_access', acl]] }),
        file('plain', { mode: 0o777, xattrs: [['system.posix_acl_access', plainAcl]] }),
        file('same', {
          mode: 0o640,
          xattrs: [
            ['system.posix_acl_access', plainAcl],
            ['user.a', Buffer.from('stays')],
          ],
        }),
        file('mask-alone', { mode: 0o777, xattrs: [['system.posix_acl_access', maskAcl]] }),
        link('masked-again', 'masked'),
      ],
      [directory('folder', { mode: 0o755 })],
    ],
  ],
  [
    'names of 255 bytes and bytes that are not UTF-8',
    [[file(name), file(Buffer.alloc(255, 0xff)), file(Buffer.from([0xc3, 0x28, 0x0a, 0x22])), file('ñ'), file('文件')]],
  ],
  [
    'hard links to a file that an upper layer replaces',
    [
      [file('a'), link('b', 'a')],
      [file('a', { mode: 0o600 }), link('c', 'b')],
    ],
  ],
  [
    'hard links to a file that an upper layer deletes',
    [[file('a'), link('d/b', 'a')], [file('.wh.a')], [link('again', 'd/b')], [file('d/.wh.b')]],
  ],
  [
    'a hard link from an upper layer to a lower file that the same layer deletes',
    [[file('a')], [link('b', 'a'), file('.wh.a')]],
  ],
  ['cycles of symlinks', [[symlink('a', 'b'), symlink('b', 'a'), symlink('self', 'self'), symlink('d/up', '../d')]]],
  [
    'whiteouts of things that are not there',
    [[file('d/a')], [file('.wh.x'), file('d/.wh.y'), file('no/.wh.z'), file('no/.wh..wh..opq'), file('d/a/.wh.b')]],
  ],
  [
    'whiteouts of names of 255 bytes',
    [
      [file(name), file('stays'), file(`d/${name}`), file(`${'e'.repeat(252)}/a`)],
      [file(`.wh.${name}`), file(`d/.wh.${name}`), file(`.wh.${'e'.repeat(252)}`)],
    ],
  ],
  [
    'whiteouts of what the same layer states, before them and after them',
    [
      [file('before'), file('after'), file('d/old'), link('kept', 'after')],
      [
        file('.wh.before'),
        file('before', { mode: 0o600 }),
        file('after', { mode: 0o600 }),
        file('.wh.after'),
        file('d/new'),
        file('.wh.d'),
      ],
    ],
  ],
  [
    'an opaque directory after its entries',
    [
      [file('d/old'), file('d/e/old')],
      [file('d/new'), file('d/.wh..wh..opq')],
    ],
  ],
  [
    'an opaque directory before its entries',
    [
      [file('d/old'), file('d/e/old')],
      [file('d/.wh..wh..opq'), file('d/new')],
    ],
  ],
  [
    'entries that are repeated',
    [
      [
        file('f', { mode: 0o600 }),
        directory('d', { mode: 0o700 }),
        file('d/kept'),
        file('f', { mode: 0o640, content: Buffer.from('last') }),
        directory('d', { mode: 0o1777 }),
      ],
    ],
  ],
  [
    'a file that becomes a directory and back over several layers',
    [
      [file('x')],
      [directory('x'), file('x/a')],
      [file('x')],
      [file('.wh.x')],
      [file('x/b')],
      [symlink('x', 'y')],
      [directory('x', { mode: 0o700 })],
    ],
  ],
  [
    'entries below a symlinked directory',
    [
      [directory('usr/lib'), symlink('lib', 'usr/lib'), file('lib/a'), symlink('out', '../../../usr'), file('out/b')],
      [file('lib/.wh.a'), file('lib/c'), link('d', 'lib/c')],
    ],
    { inRoot: true },
  ],
  [
    'devices and fifos (a tar has no sockets)',
    [
      [
        { path: 'null', type: 'character-device', deviceMajor: 1, deviceMinor: 3, mode: 0o666 },
        { path: 'disk', type: 'block-device', deviceMajor: 259, deviceMinor: 70_000, mode: 0o660, gid: 6 },
        { path: 'fifo', type: 'fifo', mode: 0o600 },
        { path: 'whiteout-like', type: 'character-device', deviceMajor: 0, deviceMinor: 0 },
      ],
    ],
  ],
  ['empty layers', [[], [file('a')], [], [], [file('b')], []], { alone: true }],
  ['no layers', [], { alone: true }],
  [
    '127 layers',
    Array.from({ length: 127 }, (_, layer) => [
      file(`own-${layer}`),
      file('shared', { mode: layer }),
      file(`.wh.own-${layer - 2}`),
    ]),
  ],
  [
    'uid and gid over 65535',
    [[file('pax', { uid: 65_536, gid: 2 ** 32 - 2 }), file('gnu', { uid: 70_000, gid: 2_097_152, ...gnu })]],
  ],
  [
    'entries below what a lower layer, or the same one, had as a file, which umoci takes from 0.5 on',
    [
      [file('f', { mode: 0o600 }), file('g'), link('other', 'g'), symlink('s', 'g')],
      [file('f/a/b'), link('s/c', 'other'), file('h'), directory('h/d', { mode: 0o700 })],
    ],
    { umociCannot: true },
  ],
  ['missing parents', [[file('a/b/c', { uid: 7, mode: 0o600 })], [directory('a', { mode: 0o700, uid: 9 })]]],
  [
    'a root entry with its own mode, owner, time and attributes',
    [
      [directory('./', { mode: 0o700, uid: 3, gid: 4 }), file('./a')],
      [
        directory('/', {
          mode: 0o1711,
          uid: 12,
          gid: 34,
          mtime: 123_456_789_012_345n,
          xattrs: [['user.root', Buffer.from('r')]],
        }),
      ],
    ],
    { alone: true },
  ],
  [
    'files and links with every special bit',
    [[file('s', { mode: 0o6755, uid: 5 }), directory('t', { mode: 0o1777 }), file('none', { mode: 0 })]],
  ],
];

const alone = cases.filter(([, , options]) => options?.alone);
/** One image, one mount and one call of umoci for all of these. */
const together = cases.filter(([, , options]) => !options?.alone);
const named = together.map((one) => [one[0], one] as const);

function combined(chosen: readonly Case[]): TarEntry[][] {
  const height = Math.max(...chosen.map(([, layers]) => layers.length));
  return Array.from({ length: height }, (_, number) =>
    chosen.flatMap((one) =>
      (one[1][number] ?? []).map((entry) => (isInRoot(one) ? entry : below(placeOf(one), entry))),
    ),
  );
}

const isInRoot = ([, , options]: Case): boolean => options?.inRoot === true;

/** The directory of a case that lies in one of its own. */
const placeOf = (one: Case): string => `case-${together.indexOf(one)}`;

function below(place: string, entry: TarEntry): TarEntry {
  const moved = (path: TarEntry['path']) => Buffer.concat([Buffer.from(`${place}/`), bytesOf(path)]);
  const path = moved(entry.path);
  return entry.type === 'link' && entry.target !== undefined
    ? { ...entry, path, target: moved(entry.target) }
    : { ...entry, path };
}

/** What a case has in the tree of all: its directory, or all of the root that is no such directory. */
function part(tree: ListedNode, one: Case): ListedNode {
  if (isInRoot(one)) return { ...tree, children: new Map([...tree.children].filter(([name]) => !/^case-/.test(name))) };
  const node = tree.children.get(placeOf(one));
  if (node === undefined) throw new Error(`there is no ${placeOf(one)}`);
  return node;
}

beforeAll(requireMounts);

describe('an image with', () => {
  let image: Awaited<ReturnType<typeof mountedAndModel>>;
  beforeAll(async () => {
    image = await mountedAndModel(combined(together));
  });

  test.each(named)('%s is, mounted, what its layers state', (_what, one) => {
    expect(differences(part(image.mounted, one), part(image.expected, one))).toEqual([]);
  });

  test.each(alone)('%s is, mounted, what its layers state', (_what, layers) => expectExact({ layers }));
});

const missing = await whyNoUmoci();
if (missing !== undefined) process.stderr.write(`skipped: the named cases are not compared with umoci: ${missing}\n`);

(missing === undefined ? describe : describe.skip)('umoci makes the same of', () => {
  const umociCan = ([, , options]: Case) => !options?.umociCannot;
  let image: Awaited<ReturnType<typeof unpackedAndModel>>;
  beforeAll(async () => {
    image = await unpackedAndModel(combined(together.filter(umociCan)));
  });

  test.each(named.filter(([, one]) => umociCan(one)))('%s', (_what, one) => {
    const { unpacked, expected, ignoreTime } = image;
    expect(differences(part(unpacked, one), part(expected, one), { ignoreTime })).toEqual([]);
  });

  test.each(alone.filter(umociCan))('%s', (_what, layers) => expectModelAsUmoci({ layers }));
});
