import fc from 'fast-check';

const SURROGATES = 0xd800;
const AFTER_SURROGATES = 0xe000;

/**
 * Any Unicode character except surrogates, as a unit of `fc.string`. The same as fast-check's own `binary`, which lists all
 * 1.1 million of them first: that takes more than a second, and 100 MB that a jest worker keeps, for each test file.
 */
export const anyCharacter = fc
  .nat({ max: 0x10ffff - (AFTER_SURROGATES - SURROGATES) })
  .map((index) => String.fromCodePoint(index < SURROGATES ? index : index + AFTER_SURROGATES - SURROGATES), indexOf);

/** The reverse, with which fast-check puts names such as `__proto__` into strings. Throws for anything that is no character. */
function indexOf(value: unknown): number {
  const point = typeof value === 'string' ? value.codePointAt(0) : undefined;
  if (point === undefined || String.fromCodePoint(point) !== value) throw new Error('no character');
  if (point < SURROGATES) return point;
  if (point < AFTER_SURROGATES) throw new Error('half a pair');
  return point - (AFTER_SURROGATES - SURROGATES);
}
