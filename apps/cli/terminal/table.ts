import { counted } from '@bhatti/tasks';
import { printableLine } from './printable.ts';
import { padTo, widthOf } from './text-width.ts';

/** Columns of text, as wide as their widest cell and two spaces apart; no trailing spaces. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows.map((row) => row.map(printableLine))];
  const widths = header.map((_title, column) => Math.max(...lines.map((row) => widthOf(row[column] ?? ''))));
  return lines
    .map((row) =>
      row
        .map((cell, column) => padTo(cell, widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** `name  value` lines with the values aligned; a field without a value is left out. */
export function formatFields(fields: readonly (readonly [string, string | false | null | undefined])[]): string {
  const known = fields.filter(([, value]) => Boolean(value));
  const width = Math.max(9, ...known.map(([name]) => name.length));
  return known.map(([name, value]) => `${name.padEnd(width)}  ${printableLine(String(value))}\n`).join('');
}

/** How long ago, in the largest whole unit: `just now`, `5 minutes ago`, `3 days ago`. Times in ms. */
export function formatAge(then: number, now: number): string {
  const seconds = Math.max(0, Math.floor((now - then) / 1000));
  const units = [
    ['year', 365 * 86_400],
    ['month', 30 * 86_400],
    ['week', 7 * 86_400],
    ['day', 86_400],
    ['hour', 3600],
    ['minute', 60],
  ] as const;
  for (const [unit, length] of units) {
    const count = Math.floor(seconds / length);
    if (count > 0) return `${counted(count, unit)} ago`;
  }
  return 'just now';
}

/** The digest as people compare it: the first 12 hex digits, without the algorithm. */
export function shortDigest(digest: string): string {
  return digest.replace(/^[a-z0-9]+:/, '').slice(0, 12);
}
