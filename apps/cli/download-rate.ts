/** How fast bytes come, from what was seen of them over the last seconds. Times in ms. */

/** Long enough to be calm, short enough to tell soon that a download has stopped. */
const WINDOW = 5000;
/** Less says nothing yet. */
const SHORTEST = 800;

interface Sample {
  readonly at: number;
  readonly bytes: number;
}

/** What was seen of each download, by its key; the latest sample last. */
export type SeenBytes = ReadonlyMap<string, readonly Sample[]>;

export function seeBytes(seen: SeenBytes, counts: ReadonlyMap<string, number>, now: number): SeenBytes {
  return new Map(
    [...counts].map(([key, bytes]) => {
      const samples = seen.get(key) ?? [];
      const last = samples.at(-1);
      // Bytes that have gone were thrown away: the download began anew.
      if (last === undefined || bytes < last.bytes) return [key, [{ at: now, bytes }]];
      return [key, [...recent(samples, now), { at: now, bytes }]];
    }),
  );
}

/** Bytes a second; undefined while too little was seen. */
export function rateOf(seen: SeenBytes, key: string, now: number): number | undefined {
  const samples = recent(seen.get(key) ?? [], now);
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || now - first.at < SHORTEST) return undefined;
  return ((last.bytes - first.bytes) / (now - first.at)) * 1000;
}

/** The samples of the window, and the last one before it: what it began with. */
function recent(samples: readonly Sample[], now: number): readonly Sample[] {
  const first = samples.findLastIndex(({ at }) => at <= now - WINDOW);
  return first <= 0 ? samples : samples.slice(first);
}
