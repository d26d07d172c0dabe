import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { RootfsError } from '../error.ts';
import { normalizePath, quote } from '../layer/path.ts';
import { parsePax, parsePaxNumber, parsePaxTime } from '../layer/pax.ts';
import { sparseMap } from '../layer/sparse.ts';
import { SparseMapReader } from '../layer/sparse-map-reader.ts';

function codeOf(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof RootfsError) return error.code;
    throw error;
  }
}

describe('paths', () => {
  test.each([
    ['a/b', 'a/b'],
    ['./a/b', 'a/b'],
    ['/a/b/', 'a/b'],
    ['.//a///b/./c', 'a/b/c'],
    ['a/../b', 'b'],
    ['a/b/../../c', 'c'],
    ['', ''],
    ['/', ''],
    ['./', ''],
    ['a/..', ''],
    ['...', '...'],
    ['..a/b..', '..a/b..'],
    ['a\\b', 'a\\b'],
    ['a\n', 'a\n'],
    ['a/.\n', 'a/.\n'],
  ])('%j is %j', (path, normal) => {
    expect(normalizePath(path)).toBe(normal);
  });

  test.each(['..', '../a', '/..', 'a/../..', './../etc/passwd', 'a/b/../../../c'])('%j climbs out', (path) => {
    expect(codeOf(() => normalizePath(path))).toBe('path_escapes_root');
  });

  test('with names that no file system holds are refused', () => {
    expect(codeOf(() => normalizePath('a'.repeat(255)))).toBeUndefined();
    expect(codeOf(() => normalizePath('a'.repeat(256)))).toBe('layer_corrupt');
    expect(codeOf(() => normalizePath(`b/${'a'.repeat(256)}/`))).toBe('layer_corrupt');
    expect(normalizePath(`${'a'.repeat(255)}/${'b'.repeat(255)}`)).toBe(`${'a'.repeat(255)}/${'b'.repeat(255)}`);
    expect(codeOf(() => normalizePath('a\0b'))).toBe('layer_corrupt');
  });

  test('that are whiteouts may hide the longest name', () => {
    expect(normalizePath(`b/.wh.${'a'.repeat(255)}`)).toBe(`b/.wh.${'a'.repeat(255)}`);
    expect(codeOf(() => normalizePath(`b/.wh.${'a'.repeat(256)}`))).toBe('layer_corrupt');
  });

  test('any that are taken have no empty, "." or ".." component, and stay as they are', () => {
    const component = fc.oneof(fc.constantFrom('', '.', '..', 'a', 'b', '...'), fc.string({ maxLength: 5 }));
    fc.assert(
      fc.property(
        fc.array(component).map((parts) => parts.join('/')),
        (path) => {
          let normal: string;
          try {
            normal = normalizePath(path);
          } catch (error) {
            return error instanceof RootfsError;
          }
          const parts = normal === '' ? [] : normal.split('/');
          return parts.every((part) => !['', '.', '..'].includes(part)) && normalizePath(normal) === normal;
        },
      ),
    );
  });

  test('are short in messages', () => {
    expect(quote('a'.repeat(5000)).length).toBeLessThan(210);
    expect(quote('caf\u00c3\u00a9\n')).toBe('"café\\n"');
  });
});

const record = (key: string, value: Buffer): Buffer => {
  const tail = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), value, Buffer.from('\n')]);
  let length = tail.length + 1;
  while (`${length}`.length + tail.length !== length) length = `${length}`.length + tail.length;
  return Buffer.concat([Buffer.from(`${length}`), tail]);
};

describe('PAX records', () => {
  test('keep any byte, repeated keys and their order', () => {
    const key = fc.stringMatching(/^[A-Za-z][A-Za-z0-9._-]{0,20}$/);
    const value = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fc.array(fc.tuple(key, value)), (records) => {
        const body = Buffer.concat(records.map(([name, bytes]) => record(name, bytes)));
        expect(parsePax(body)).toEqual(records.map(([name, bytes]) => [name, bytes.toString('latin1')]));
      }),
    );
  });

  test.each([
    ['no number', 'x path=a\n'],
    ['a length beyond the end', '99 path=a\n'],
    ['a length too short', '5 path=a\n'],
    ['a length of nothing', '0 path=a\n'],
    ['a negative length', '-9 path=a\n'],
    ['a length in hex', '0xb path=a\n'],
    ['a length with an exponent', '12e0 path=a\n'],
    ['no line break', '9 path=abc'],
    ['a letter in place of the line break', '11 path=abc'],
    ['no space', '123456789'],
    ['no equals sign', '8 patha\n'],
    ['the equals sign in the next record', '8 patha\n9 b=path\n'],
  ])('with %s are refused', (_name, text) => {
    expect(codeOf(() => parsePax(Buffer.from(text)))).toBe('layer_corrupt');
  });

  test('of any bytes give records or an error with a code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect([undefined, 'layer_corrupt']).toContain(codeOf(() => parsePax(Buffer.from(bytes))));
      }),
    );
  });

  test.each([
    ['0', 0, 0],
    ['1.5', 1, 500_000_000],
    ['1700000000.123456789', 1_700_000_000, 123_456_789],
    ['1.1234567899', 1, 123_456_789],
    ['-1', -1, 0],
    ['-0.5', -1, 500_000_000],
    ['-1.25', -2, 750_000_000],
    ['-0', 0, 0],
    ['5000000000.', 5_000_000_000, 0],
    ['+1.5', 1, 500_000_000],
  ])('time %s', (text, seconds, nanoseconds) => {
    expect(parsePaxTime(text)).toEqual({ seconds, nanoseconds });
  });

  test.each(['', 'x', '1,5', '.5', '1e3', '99999999999999999999', '+-1', ' 1'])('%j is no time', (text) => {
    expect(parsePaxTime(text)).toBeUndefined();
  });

  test('numbers are decimal and exact', () => {
    expect(parsePaxNumber('4294967294')).toBe(4_294_967_294);
    expect(parsePaxNumber('+5')).toBe(5);
    for (const text of ['', '+', '++1', '-1', '1.5', '0x10', '9007199254740993', '1 '])
      expect(parsePaxNumber(text)).toBeUndefined();
  });
});

describe('sparse maps', () => {
  test('drop empty fragments', () => {
    expect(sparseMap(100, [0, 10, 20, 0, 50, 50, 100, 0])).toEqual({
      size: 100,
      fragments: [
        { offset: 0, length: 10 },
        { offset: 50, length: 50 },
      ],
    });
  });

  test.each([
    ['out of order', 100, [50, 10, 20, 10]],
    ['overlapping', 100, [0, 20, 10, 20]],
    ['beyond the end', 100, [90, 20]],
    ['beyond the end with nothing', 100, [101, 0]],
    ['too large for a number', 2 ** 53 - 1, [2 ** 53 - 2, 2 ** 53 - 2]],
    ['no numbers', 100, [Number.NaN, 1]],
    ['negative', 100, [0, -1]],
    ['negative before', 100, [-5, 1]],
    ['fractions', 100, [0.5, 1]],
  ])('that are %s are refused', (_name, size, numbers) => {
    expect(codeOf(() => sparseMap(size, numbers))).toBe('layer_corrupt');
  });

  describe('at the start of the content', () => {
    const mapOf = (text: string, rest = '') =>
      Buffer.from(`${text.padEnd(Math.ceil(text.length / 512) * 512, '\0')}${rest}`);
    /** Pushes pieces of a length until the map is whole: what was after it in its piece, and how many bytes were pushed. */
    const read = (bytes: Buffer, piece: number, size = 2 ** 40) => {
      const reader = new SparseMapReader(size);
      for (let at = 0; at < bytes.length; at += piece) {
        const rest = reader.push(bytes.subarray(at, at + piece));
        if (rest !== undefined)
          return { map: reader.map, rest: rest.toString(), pushed: Math.min(at + piece, bytes.length) };
      }
      return undefined;
    };

    test('are read in pieces of any length, up to the block in which they end', () => {
      const many = Array.from({ length: 100 }, (_, index) => `${index * 100}\n${50}\n`).join('');
      // Of 512 bytes.
      const exact = `${'31'.padStart(15, '0')}\n${'0000000\n'.repeat(62)}`;
      for (const text of ['0\n', '1\n5\n10\n', `100\n${many}`, exact]) {
        const whole = mapOf(text, 'content');
        const expected = read(whole, whole.length);
        expect(expected?.rest).toBe('content');
        for (const piece of [1, 7, 511, 512, 513]) {
          const { map, rest = '', pushed = 0 } = read(whole, piece) ?? {};
          expect(map).toEqual(expected?.map);
          expect(rest).toBe('content'.slice(0, pushed - mapOf(text).length));
        }
        expect(read(whole.subarray(0, mapOf(text).length - 1), 100)).toBeUndefined();
      }
    });

    test('are read once, however small the pieces: a map of a megabyte that comes byte by byte takes no hour', () => {
      const text = `250000\n${'0\n0\n'.repeat(250_000)}`;
      expect(read(mapOf(text), 1)?.map.fragments).toEqual([]);
    });

    test.each([
      'x\n',
      '\n',
      ' 1\n0\n1\n',
      '0x1\n0\n1\n',
      '-1\n',
      '1.5\n',
      '9007199254740993\n',
      '1\nx\n1\n',
      '1\n0\n-1\n',
      '1'.repeat(40),
      '1\n5\n2000\n',
    ])('are refused when they are none: %j', (text) => {
      for (const piece of [1, 512]) expect(codeOf(() => read(mapOf(text), piece, 1000))).toBe('layer_corrupt');
    });
  });
});
