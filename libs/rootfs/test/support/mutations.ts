import fc from 'fast-check';
import { headerFields } from './tar-entry.ts';

/** Ways to break a tar: each takes the bytes of one and gives those of another. */
export type Mutation = (tar: Buffer) => Buffer;

const BLOCK = 512;
const fields = Object.entries(headerFields).map(([name, [offset, length]]) => ({ name, offset, length }));
const part = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

/** What a hostile writer puts into a field: too much, too little, nothing, what climbs out, what is no number. */
const fieldValue = fc.oneof(
  fc
    .constantFrom(
      '',
      '77777777777',
      '00000000000',
      '-1',
      '99999999',
      '7',
      '../../../etc/passwd',
      '/',
      '.',
      '..',
      'a/../..',
      '.wh.',
      '.wh..wh..opq',
      'x'.repeat(155),
      '0',
      '1',
      '2',
      '3',
      '5',
      '6',
      '7',
      'x',
      'g',
      'L',
      'K',
      'S',
      'Z',
      '\0',
    )
    .map((text) => Buffer.from(text, 'latin1')),
  fc
    .constantFrom(
      '80000000000000000000ffff',
      'ffffffffffffffffffffffff',
      '800000000000000000000000',
      '80ffffffffffffffffffffff',
      '8000000000001fffffffffff',
    )
    .map((hex) => Buffer.from(hex, 'hex')),
  fc.uint8Array({ minLength: 1, maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
);

/** Sets a field of a header and seals it again, so that the reader gets past the checksum. */
const header: fc.Arbitrary<Mutation> = fc
  .record({ where: part, field: fc.constantFrom(...fields), value: fieldValue })
  .map(({ where, field, value }) => (tar) => {
    const headers = headerOffsets(tar);
    const at = headers[Math.floor(where * headers.length)];
    if (at === undefined) return tar;
    const copy = Buffer.from(tar);
    copy.fill(0, at + field.offset, at + field.offset + field.length);
    value.copy(copy, at + field.offset, 0, Math.min(value.length, field.length));
    if (field.name !== 'checksum') seal(copy, at);
    return copy;
  });

/** Changes bytes anywhere in a header past its own fields' starts, old GNU sparse maps included, and seals it. */
const headerBytes: fc.Arbitrary<Mutation> = fc
  .record({
    where: part,
    offset: fc.integer({ min: 0, max: BLOCK - 1 }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 24 }),
  })
  .map(({ where, offset, bytes }) => (tar) => {
    const headers = headerOffsets(tar);
    const at = headers[Math.floor(where * headers.length)];
    if (at === undefined) return tar;
    const copy = Buffer.from(tar);
    Buffer.from(bytes).copy(copy, at + offset, 0, Math.min(bytes.length, BLOCK - offset));
    seal(copy, at);
    return copy;
  });

/** Changes bytes anywhere: mostly in contents, PAX records and sparse maps. */
const anyBytes: fc.Arbitrary<Mutation> = fc
  .record({
    where: part,
    bytes: fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 8 }),
      fc.constantFrom('9', '-1', '\0', '=', '\n', '99999999999999999999').map((text) => Buffer.from(text)),
    ),
  })
  .map(({ where, bytes }) => (tar) => {
    const copy = Buffer.from(tar);
    Buffer.from(bytes).copy(copy, Math.floor(where * tar.length));
    return copy;
  });

const cut: fc.Arbitrary<Mutation> = part.map((where) => (tar) => tar.subarray(0, Math.floor(where * tar.length)));

/** Moves, repeats or drops whole blocks. */
const blocks: fc.Arbitrary<Mutation> = fc
  .record({
    from: part,
    to: part,
    count: fc.integer({ min: 1, max: 4 }),
    kind: fc.constantFrom('copy', 'drop', 'insert'),
  })
  .map(({ from, to, count, kind }) => (tar) => {
    const total = Math.floor(tar.length / BLOCK);
    const start = Math.floor(from * total) * BLOCK;
    const end = Math.min(start + count * BLOCK, tar.length);
    const target = Math.floor(to * total) * BLOCK;
    if (kind === 'drop') return Buffer.concat([tar.subarray(0, start), tar.subarray(end)]);
    if (kind === 'insert')
      return Buffer.concat([tar.subarray(0, target), tar.subarray(start, end), tar.subarray(target)]);
    const copy = Buffer.from(tar);
    tar.copy(copy, target, start, end);
    return copy;
  });

/** One to three of them, one after the other. */
export const mutation: fc.Arbitrary<Mutation> = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: header },
      { weight: 3, arbitrary: headerBytes },
      { weight: 3, arbitrary: anyBytes },
      { weight: 1, arbitrary: cut },
      { weight: 2, arbitrary: blocks },
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((all) => (tar) => all.reduce((bytes, one) => one(bytes), tar));

function headerOffsets(tar: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at + BLOCK <= tar.length; at += BLOCK) if (sealed(tar, at)) found.push(at);
  return found;
}

function sealed(tar: Buffer, at: number): boolean {
  const stated = Number.parseInt(tar.toString('latin1', at + 148, at + 154), 8);
  return stated === sumOf(tar, at);
}

function seal(tar: Buffer, at: number): void {
  tar.write(`${sumOf(tar, at).toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
}

function sumOf(tar: Buffer, at: number): number {
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += tar[at + i] ?? 0;
  return sum;
}
