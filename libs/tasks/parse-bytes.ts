const units: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ['kb', 1e3],
  ['mb', 1e6],
  ['gb', 1e9],
  ['tb', 1e12],
  ['kib', 2 ** 10],
  ['mib', 2 ** 20],
  ['gib', 2 ** 30],
  ['tib', 2 ** 40],
]);

/**
 * Parses a size as people write it: `512MB`, `1.5 GiB`, `1073741824`. kB, MB, GB and TB are decimal, KiB, MiB, GiB and TiB
 * binary; case does not matter. Not rounded: `1.5B` is 1.5. Null when it is malformed.
 */
export function parseBytes(text: string): number | null {
  const [, number, unit = ''] = /^(\d{1,20}(?:\.\d{1,6})?)\s*([A-Za-z]{0,3})$/.exec(text.trim()) ?? [];
  const factor = units.get(unit.toLowerCase());
  return number === undefined || factor === undefined ? null : Number(number) * factor;
}
