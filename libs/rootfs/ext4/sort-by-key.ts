import { giveBack } from '../layer/chunk-memory.ts';

/** Values of a byte. */
const DIGITS = 256;
const LAST_DIGIT = DIGITS - 1;

/**
 * Sorts numbers by the key that each has in `keys`; those of one key stay in their order. A radix sort, byte by byte: it takes four bytes a
 * number. `sort` with a comparator takes about twice the time, and makes two lists of eight bytes a number first.
 */
export function sortByKey(numbers: Uint32Array, keys: Uint32Array): void {
  let from = numbers;
  let to: Uint32Array = new Uint32Array(numbers.length);
  const places = new Uint32Array(DIGITS);
  // Four times, after which they are where they were.
  for (let shift = 0; shift < 32; shift += 8) {
    places.fill(0);
    for (let i = 0; i < from.length; i++) {
      const digit = ((keys[from[i] ?? 0] ?? 0) >>> shift) & LAST_DIGIT;
      places[digit] = (places[digit] ?? 0) + 1;
    }
    let place = 0;
    for (let digit = 0; digit < DIGITS; digit++) {
      const count = places[digit] ?? 0;
      places[digit] = place;
      place += count;
    }
    for (let i = 0; i < from.length; i++) {
      const number = from[i] ?? 0;
      const digit = ((keys[number] ?? 0) >>> shift) & LAST_DIGIT;
      const at = places[digit] ?? 0;
      to[at] = number;
      places[digit] = at + 1;
    }
    [from, to] = [to, from];
  }
  giveBack(to);
}
