import fc from 'fast-check';
import { patternContent, sparseContent } from './content.ts';
import { validEntries } from './oci-model.ts';
import { type Bytes, bytesOf, contentSize, type Encoding, type EntryType, type TarEntry } from './tar-entry.ts';

/**
 * Random stacks of layers. Names come from a handful, so that layers collide, replace, link to and delete each other's
 * entries all the time; every attribute is drawn from its odd values as often as from the plain ones.
 */

/** A stack of layers, lowest first. fast-check prints it as `describeStack` does. */
export interface LayerStack {
  readonly layers: readonly (readonly TarEntry[])[];
}

const BLOCK = 4096;
const SECOND = 1_000_000_000n;
/** Times that an ext4 inode of 256 bytes holds: 34 bits of seconds from 1901-12-13 on. */
const EARLIEST = -(2n ** 31n) * SECOND;
const LATEST = (2n ** 34n - 2n ** 31n) * SECOND - 1n;

const component = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom('a', 'b', 'c', 'd') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      'é',
      'with space',
      'line\nbreak',
      '-',
      '...',
      '.wh',
      'wh.a',
      'n'.repeat(101),
      'm'.repeat(255),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(Buffer.from([0xff, 0xfe]), Buffer.from([0xe9]), Buffer.from([0x01, 0x5c, 0x7f])),
  },
);

const components = fc.array(component, { minLength: 1, maxLength: 4, size: 'small' });

/** How the same path may be written. */
const spelling = fc.record({
  start: fc.constantFrom('', '', './', '/', './/'),
  joint: fc.constantFrom('/', '/', '/', '//', '/./', '/x/../'),
  end: fc.constantFrom('', '', '/'),
});

function spell(parts: readonly Bytes[], { start, joint, end }: { start: string; joint: string; end: string }): Buffer {
  const joined = parts.flatMap((part, index) => (index === 0 ? [part] : [joint, part]));
  return Buffer.concat([start, ...joined, end].map(bytesOf));
}

const mtime = fc.oneof(
  fc.constantFrom(0n, 1_700_000_000n * SECOND, EARLIEST, LATEST, -1n, 2n ** 31n * SECOND, (2n ** 32n - 1n) * SECOND),
  // Of the earliest second, the kernel that umoci unpacks on keeps no parts.
  fc.bigInt({ min: EARLIEST + SECOND, max: LATEST }),
  fc.bigInt({ min: 0n, max: 2n ** 31n - 1n }).map((seconds) => seconds * SECOND),
);

// 4294967295 is "leave it as it is" to chown, and no owner.
const owner = fc.constantFrom(0, 0, 1, 1000, 65_534, 65_535, 65_536, 2_097_152, 2 ** 31, 2 ** 32 - 2);

const attributes = fc.record({
  mode: fc.oneof(fc.constantFrom(0o644, 0o755, 0o4755, 0o2755, 0o1777, 0), fc.integer({ min: 0, max: 0o7777 })),
  uid: owner,
  gid: owner,
  mtime,
});

const xattrValue = fc
  .tuple(fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 20, 40, 80, 300, 1200), fc.integer({ min: 1, max: 255 }))
  .map(([length, seed]) => patternContent(length, seed).read(0, length));

/** `user.` attributes belong to files and directories only; the kernel lets nobody set them on the other types. */
function xattrs(type: EntryType) {
  const names = [
    'trusted.t',
    'security.s',
    'trusted.overlay.opaque',
    'security.selinux',
    'security.a-longer-name.with.dots',
  ];
  if (type === 'file' || type === 'directory') names.push('user.a', 'user.b', `user.${'x'.repeat(200)}`);
  return fc.oneof(
    { weight: 4, arbitrary: fc.constant([]) },
    {
      weight: 1,
      arbitrary: fc.uniqueArray(fc.tuple(fc.constantFrom(...names), xattrValue), {
        minLength: 1,
        maxLength: 3,
        selector: ([name]) => name,
      }),
    },
  );
}

const content = fc.oneof(
  {
    weight: 4,
    arbitrary: plainContent(fc.constantFrom(0, 1, 11, 512, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 40_000)),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        // Few, as a rule: what makes a stack expensive is content.
        fc.oneof({ weight: 4, arbitrary: fc.nat({ max: 6 }) }, { weight: 1, arbitrary: fc.nat({ max: 60 }) }),
        fc.integer({ min: 1, max: 18 }).map((blocks) => blocks * 512),
        fc.integer(),
        fc.integer({ min: 0, max: 9000 }),
      )
      .map(([count, step, seed, tail]) => {
        const fragments = Array.from({ length: count }, (_, index) => ({
          offset: (2 * index + 1) * step,
          length: step,
        }));
        return sparseContent((2 * count + 1) * step + tail, fragments, seed);
      }),
  },
);

function plainContent(size: fc.Arbitrary<number>) {
  return fc.tuple(size, fc.integer()).map(([bytes, seed]) => patternContent(bytes, seed).read(0, bytes));
}

const target = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(components, fc.constantFrom('', '', '/', '../', './'))
      .map(([parts, start]) => spellTarget(parts, start)),
  },
  { weight: 1, arbitrary: fc.constantFrom('..', '.', '/', '../..', 'a/../../b', 'a//b/') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(59, 60, 61, 100, 101, 1000, 4095).map((length) => 'l'.repeat(length)),
  },
);

function spellTarget(parts: readonly Bytes[], start: string): Buffer {
  return spell(parts, { start, joint: '/', end: '' });
}

/** How an entry may be written that is not sparse and needs nothing that only PAX has. */
const plainEncoding: fc.Arbitrary<Encoding> = fc.record({
  format: fc.constantFrom('gnu', 'gnu', 'ustar', 'v7'),
  numbers: fc.constantFrom('octal', 'octal-space', 'base-256'),
  checksum: fc.constantFrom('unsigned', 'unsigned', 'signed'),
});

const paxEncoding: fc.Arbitrary<Encoding> = fc.record({
  format: fc.constant('pax'),
  numbers: fc.constantFrom('octal', 'octal-space', 'base-256'),
  forcedRecords: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.subarray(['path', 'mtime', 'uid', 'gid', 'size'] as const) },
  ),
});

const sparse = fc.constantFrom('gnu', 'pax-0.0', 'pax-0.1', 'pax-1.0', undefined);

const encoding = fc.record({ pax: paxEncoding, plain: plainEncoding, preferPlain: fc.boolean(), sparse });
type EncodingChoice = typeof encoding extends fc.Arbitrary<infer T> ? T : never;

/** The entry with the chosen encoding, or with one near it that can hold what the entry states. */
function encoded(entry: TarEntry, choice: EncodingChoice): TarEntry {
  const wantsSparse = entry.content !== undefined && !Buffer.isBuffer(entry.content) ? choice.sparse : undefined;
  const whole = (entry.mtime ?? 0n) % SECOND === 0n && (entry.xattrs ?? []).length === 0;
  if (wantsSparse?.startsWith('pax') || !whole || (!choice.preferPlain && wantsSparse !== 'gnu')) {
    return { ...entry, encoding: { ...choice.pax, sparse: wantsSparse === 'gnu' ? undefined : wantsSparse } };
  }
  const small =
    wantsSparse === undefined &&
    bytesOf(entry.path).length <= 100 &&
    bytesOf(entry.target ?? '').length <= 100 &&
    Math.max(entry.uid ?? 0, entry.gid ?? 0) < 8 ** 6 &&
    (entry.mtime ?? 0n) >= 0n &&
    (entry.mtime ?? 0n) < 8n ** 11n * SECOND &&
    (entry.deviceMinor ?? 0) < 8 ** 6;
  const plain = choice.plain;
  if (!small) return { ...entry, encoding: { ...plain, format: 'gnu', sparse: wantsSparse } };
  const device = entry.type === 'character-device' || entry.type === 'block-device';
  const format = plain.format === 'v7' && (device || entry.type === 'fifo') ? 'ustar' : plain.format;
  const numbers = format === 'gnu' || plain.numbers !== 'base-256' ? plain.numbers : 'octal';
  return { ...entry, encoding: { ...plain, format, numbers } };
}

function ofType(type: EntryType) {
  const device = type === 'character-device' || type === 'block-device';
  return fc
    .record({
      parts: components,
      spelling,
      attributes,
      xattrs: xattrs(type),
      content: type === 'file' ? content : fc.constant(undefined),
      target:
        type === 'symlink'
          ? target
          : type === 'link'
            ? fc.tuple(components, spelling).map(([parts, how]) => spell(parts, { ...how, end: '' }))
            : fc.constant(undefined),
      deviceMajor: device ? fc.constantFrom(0, 1, 8, 255, 256, 4095) : fc.constant(undefined),
      deviceMinor: device ? fc.constantFrom(0, 3, 255, 256, 65_536, 1_048_575) : fc.constant(undefined),
      encoding,
    })
    .map(({ parts, spelling: how, attributes: common, encoding: choice, ...rest }): TarEntry => {
      const end = type === 'directory' ? how.end : '';
      return encoded({ path: spell(parts, { ...how, end }), type, ...common, ...rest }, choice);
    });
}

const whiteout = fc
  .record({
    parts: components,
    how: spelling,
    opaque: fc.nat({ max: 3 }),
    attributes,
    encoding,
    above: fc.array(component, { maxLength: 1 }),
  })
  .map(({ parts, how, opaque, attributes: common, encoding: choice, above }): TarEntry => {
    const name = Buffer.concat(['.wh.', opaque === 0 ? '.wh..opq' : (parts.at(-1) ?? 'a')].map(bytesOf));
    const parents = opaque === 0 ? parts.slice(above.length) : parts.slice(0, -1);
    return encoded(
      { path: spell([...parents, name.subarray(0, 255)], { ...how, end: '' }), type: 'file', ...common },
      choice,
    );
  });

const rootEntry = fc
  .record({ path: fc.constantFrom('./', '.', '/'), attributes, xattrs: xattrs('directory'), encoding })
  .map(({ path, attributes: common, xattrs: extended, encoding: choice }): TarEntry => {
    return encoded({ path, type: 'directory', ...common, xattrs: extended }, choice);
  });

const entry = fc.oneof(
  { weight: 8, arbitrary: ofType('directory') },
  { weight: 8, arbitrary: ofType('file') },
  { weight: 5, arbitrary: whiteout },
  { weight: 5, arbitrary: ofType('link') },
  { weight: 4, arbitrary: ofType('symlink') },
  { weight: 1, arbitrary: ofType('character-device') },
  { weight: 1, arbitrary: ofType('block-device') },
  { weight: 1, arbitrary: ofType('fifo') },
  { weight: 1, arbitrary: rootEntry },
);

const rawLayers = fc.array(fc.array(entry, { maxLength: 14, size: 'max' }), {
  minLength: 1,
  maxLength: 5,
  size: 'max',
});

/** One stack of up to 5 layers of up to 14 entries, all of which mean something where they stand. */
export const layerStack: fc.Arbitrary<LayerStack> = rawLayers.map((layers) => stackOf(validEntries(layers)));

/**
 * So many stacks in one, to build and mount them as one image: the first at the root, the others each in a directory of its own, to which
 * its absolute paths are moved too.
 */
export function layerStacks(count: number): fc.Arbitrary<LayerStack> {
  return fc.array(rawLayers, { minLength: count, maxLength: count }).map((stacks) => {
    const height = Math.max(...stacks.map((layers) => layers.length));
    const layers = Array.from({ length: height }, (_, number) =>
      stacks.flatMap((stack, index) =>
        (stack[number] ?? []).map((one) => (index === 0 ? one : moved(one, `s${index}`))),
      ),
    );
    return stackOf(validEntries(layers));
  });
}

function moved(one: TarEntry, directory: string): TarEntry {
  const path = bytesOf(one.path);
  const slash = path[0] === 0x2f ? '/' : '';
  const target = one.target === undefined ? undefined : bytesOf(one.target);
  const absolute = target?.[0] === 0x2f;
  const moves = target !== undefined && (one.type === 'link' || absolute) && target.length < 4000;
  return {
    ...one,
    path: Buffer.concat([bytesOf(`${slash}${directory}/`), path]),
    target: moves ? Buffer.concat([bytesOf(`${absolute ? '/' : ''}${directory}/`), target]) : one.target,
    encoding: one.encoding?.format === 'pax' ? one.encoding : { ...one.encoding, format: 'gnu' },
  };
}

function stackOf(layers: readonly (readonly TarEntry[])[]): LayerStack {
  const stack: LayerStack = { layers };
  return Object.defineProperty(stack, fc.toStringMethod, { value: () => describeStack(stack), enumerable: false });
}

/** The number of runs of a property: a few, the same each time; or `BHATTI_STACKS` of them, others each time. */
export function stackRuns(usual: number): { numRuns: number; seed?: number } {
  const asked = process.env.BHATTI_STACKS;
  return asked === undefined ? { numRuns: usual, seed: 1 } : { numRuns: Number(asked) };
}

/** The stack as text, an entry a line: for the report of a counter-example. */
export function describeStack({ layers }: LayerStack): string {
  return layers
    .map((layer, number) => `layer ${number}:\n${layer.map((one) => `  ${describeEntry(one)}\n`).join('')}`)
    .join('');
}

function describeEntry(one: TarEntry): string {
  const { path, type, mode, target, xattrs: extended, encoding: how, content: bytes, mtime: time } = one;
  const text = (value: Bytes) => JSON.stringify(bytesOf(value).toString('latin1'));
  return [
    type,
    text(path),
    target === undefined ? '' : `-> ${text(bytesOf(target).subarray(0, 120))}`,
    `0${(mode ?? 0).toString(8)} ${one.uid}:${one.gid} mtime=${time}`,
    bytes === undefined ? '' : `${contentSize(bytes)} bytes`,
    one.deviceMajor === undefined ? '' : `device ${one.deviceMajor}:${one.deviceMinor}`,
    ...(extended ?? []).map(([name, value]) => `${name}=${value.toString('hex').slice(0, 32)}(${value.length})`),
    JSON.stringify(how),
  ]
    .filter((part) => part !== '')
    .join(' ');
}
