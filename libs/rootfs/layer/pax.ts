import { RootfsError } from '../error.ts';

export type PaxRecord = readonly [key: string, value: string];

/**
 * The records of a PAX extended header (POSIX.1-2017 pax, "Extended Header"): `LENGTH KEY=VALUE\n`, where LENGTH is the decimal
 * length of the whole record. Keys and values are byte strings, since attribute values may contain any byte. In order, and with
 * repeated keys, which GNU's sparse format 0.0 uses.
 *
 * @throws RootfsError `layer_corrupt` when a record's length does not fit
 */
export function parsePax(body: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  let at = 0;
  while (at < body.length) {
    // Some writers pad the last block with NULs, and include them in the size.
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

/** Whole seconds since 1970 (negative before), to which the nanoseconds (0 to 999,999,999) are added. */
export interface PaxTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/**
 * Parses a PAX time: decimal seconds with an optional fraction, of which nine digits count. Undefined when it is malformed.
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

/** Parses a PAX number: decimal digits, after an optional plus sign as in Go's archive/tar. Undefined when it is not a safe integer. */
export function parsePaxNumber(text: string): number | undefined {
  const value = /^\+?\d+$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : undefined;
}
