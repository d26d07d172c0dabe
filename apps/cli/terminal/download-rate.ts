/** How fast bytes arrive, from their counts over the last seconds. Times in ms. */

/** Long enough for a steady figure, short enough to show soon that a download has stopped. */
const WINDOW = 5000;
/** Over a shorter time the rate is not known yet. */
const SHORTEST = 800;

interface Sample {
  readonly at: number;
  readonly bytes: number;
}

/** The samples of each download, by its key; the latest one last. */
export type SeenBytes = ReadonlyMap<string, readonly Sample[]>;

export function seeBytes(seen: SeenBytes, counts: ReadonlyMap<string, number>, now: number): SeenBytes {
  return new Map(
    [...counts].map(([key, bytes]) => {
      const samples = seen.get(key) ?? [];
      const last = samples.at(-1);
      // Fewer bytes than before: the download has started over.
      if (last === undefined || bytes < last.bytes) return [key, [{ at: now, bytes }]];
      return [key, [...recent(samples, now), { at: now, bytes }]];
    }),
  );
}

/** Bytes a second; undefined while not known yet. */
export function rateOf(seen: SeenBytes, key: string, now: number): number | undefined {
  const samples = recent(seen.get(key) ?? [], now);
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || now - first.at < SHORTEST) return undefined;
  return ((last.bytes - first.bytes) / (now - first.at)) * 1000;
}

/** The samples within the window, and the last one before it. */
function recent(samples: readonly Sample[], now: number): readonly Sample[] {
  const first = samples.findLastIndex(({ at }) => at <= now - WINDOW);
  return first <= 0 ? samples : samples.slice(first);
}
