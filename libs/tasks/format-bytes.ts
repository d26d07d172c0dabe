/**
 * Bytes as progress lines show them, in decimal units: `512 B`, `12 kB`, `45 MB`, `1.2 GB`. Whole numbers below a gigabyte, so
 * that a line does not change faster than it can be read.
 */
export function formatBytes(bytes: number): string {
  if (bytes < 1e3) return `${Math.round(bytes)} B`;
  // Each limit is where rounding would give 1000 of the smaller unit.
  if (bytes < 999.5e3) return `${Math.round(bytes / 1e3)} kB`;
  if (bytes < 999.5e6) return `${Math.round(bytes / 1e6)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
