import fc from 'fast-check';

const SURROGATES = 0xd800;
const AFTER_SURROGATES = 0xe000;

/**
 * Any character of Unicode but half a pair, as a unit of `fc.string`. What fast-check's own `binary` means, which lists all
 * 1.1 million of them first: more than a second, and 100 MB that a worker of jest keeps, for each file of tests.
 */
export const anyCharacter = fc
  .nat({ max: 0x10ffff - (AFTER_SURROGATES - SURROGATES) })
  .map((index) => String.fromCodePoint(index < SURROGATES ? index : index + AFTER_SURROGATES - SURROGATES), indexOf);

/** The way back, by which fast-check finds names such as `__proto__` to put into strings. Throws for what is no character. */
function indexOf(value: unknown): number {
  const point = typeof value === 'string' ? value.codePointAt(0) : undefined;
  if (point === undefined || String.fromCodePoint(point) !== value) throw new Error('no character');
  if (point < SURROGATES) return point;
  if (point < AFTER_SURROGATES) throw new Error('half a pair');
  return point - (AFTER_SURROGATES - SURROGATES);
}
