import type { ContentEntry } from './content-folder.ts';
import type { LayerCache } from './layer-cache.ts';

export interface EvictOptions {
  /** Bytes on disk to free; `Infinity` for every layer that is not needed. */
  readonly bytes: number;
  /** Whether a task needs the layer (`sha256:<hex>`). Called before it is set aside, and again after. */
  readonly isNeeded: (diffId: string) => Promise<boolean>;
  /** Free nothing unless `bytes` can be freed. */
  readonly onlyIfEnough?: boolean;
  /** The result of `LayerCache.list`, if the caller has it. */
  readonly entries?: readonly ContentEntry[];
  /** Remove nothing, but return what would be removed. */
  readonly dryRun?: boolean;
}

/**
 * Removes layers that no task needs, least recently used first, until `bytes` are freed. Returns the removed ones.
 *
 * A task may be about to use one of them. It claims its layers before it looks for them; here, a layer is set aside in one
 * step, and the claims are read again after that. So however the steps interleave, either the layer is put back, or the task
 * finds it missing and fetches it. Concurrent evictions do no harm: only one of them gets hold of a layer.
 */
export async function evictLayers(layers: LayerCache, options: EvictOptions): Promise<ContentEntry[]> {
  const candidates = await chooseLayers(layers, options);
  if (options.onlyIfEnough && sumOf(candidates) < options.bytes) return [];
  if (options.dryRun) return candidates;
  const removed: ContentEntry[] = [];
  for (const entry of candidates) {
    if (await evictLayer(layers, `sha256:${entry.hex}`, options.isNeeded)) removed.push(entry);
  }
  return removed;
}

/** Removes a layer unless a task needs it. Returns whether it was removed. */
export async function evictLayer(
  { content }: LayerCache,
  diffId: string,
  isNeeded: EvictOptions['isNeeded'],
): Promise<boolean> {
  if (await isNeeded(diffId)) return false;
  return content.removeUnless(diffId, () => isNeeded(diffId));
}

async function chooseLayers(
  layers: LayerCache,
  { bytes, isNeeded, entries: known }: EvictOptions,
): Promise<ContentEntry[]> {
  const entries = [...(known ?? (await layers.list()))].sort((a, b) => a.lastUsed.getTime() - b.lastUsed.getTime());
  const chosen: ContentEntry[] = [];
  let found = 0;
  for (const entry of entries) {
    if (found >= bytes) break;
    if (await isNeeded(`sha256:${entry.hex}`)) continue;
    chosen.push(entry);
    found += entry.allocatedBytes;
  }
  return chosen;
}

function sumOf(entries: readonly ContentEntry[]): number {
  return entries.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
}
