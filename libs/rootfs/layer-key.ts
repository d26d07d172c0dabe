import { createHash } from 'node:crypto';
import { LAYER_FORMAT } from './layer/layer-format.ts';

/**
 * The content address of what `decodeLayer` makes of a layer, `sha256:<hex>`: of its `diff_id`, and of how this version reads tars. Versions that
 * read them otherwise have others, and may share a cache.
 */
export function layerKey(diffId: string): string {
  return `sha256:${createHash('sha256')
    .update(JSON.stringify(['layer', LAYER_FORMAT, diffId]))
    .digest('hex')}`;
}
