import { RootfsError } from '../error.ts';

export type PaxRecord = readonly [key: string, value: string];

/**
 * The records of a PAX extended header (POSIX.1-2017 pax, "Extended Header"): `LENGTH KEY=VALUE\n`, LENGTH counting
 * the whole record in decimal. Keys and values are byte strings, since attribute values may hold any byte. In order, and
 * with repeated keys, since GNU's sparse format 0.0 repeats its keys.
 *
 * @throws RootfsError `layer_corrupt` when a record's length does not fit
 */
export function parsePax(body: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  let at = 0;
  while (at < body.length) {
    // Some writers pad the last block with NULs that they count into the size.
    if (body[at] === 0) break;
    const space = body.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : (parsePaxNumber(body.toString('latin1', at, space)) ?? Number.NaN);
    const end = at + length;
    if (
      !Number.isSafeInteger(length) ||
      space - at > 20 ||
      end > body.length ||
      end <= space + 1 ||
      body[end - 1] !== 0x0a
    ) {
      throw new RootfsError('layer_corrupt', 'the layer has a malformed PAX extended header');
    }
    const equals = body.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw new RootfsError('layer_corrupt', 'the layer has a PAX record without "="');
    records.push([body.toString('latin1', space + 1, equals), body.toString('latin1', equals + 1, end - 1)]);
    at = end;
  }
  return records;
}

/** Whole seconds since 1970, negative before, and the nanoseconds (0 to 999,999,999) after them. */
export interface PaxTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/**
 * A PAX time, decimal seconds with an optional fraction; digits below a nanosecond are cut off towards the past, as the kernel
 * does. Undefined when it is not a time.
 */
export function parsePaxTime(text: string): PaxTime | undefined {
  const match = /^([+-]?)(\d+)(?:\.(\d*))?$/.exec(text);
  if (match === null) return undefined;
  const [, sign, whole, fraction = ''] = match;
  const seconds = Number(whole);
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (!Number.isSafeInteger(seconds)) return undefined;
  if (sign !== '-') return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: seconds === 0 ? 0 : -seconds, nanoseconds: 0 };
  return { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}

/** A PAX number: decimal digits, a plus sign before them as Go's archive/tar takes it. Undefined when it is not one that a JavaScript number holds exactly. */
export function parsePaxNumber(text: string): number | undefined {
  const value = /^\+?\d+$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : undefined;
}
