/**
 * Which reading of tars the layer cache holds. Raised whenever the same tar would give another `index` or `data` than before: a mended
 * decoder, a new field. It is in the key of a cached layer and in that of a root filesystem (`layerKey`, `rootfsKey`), so
 * that layers of another reading are never found, and images made of them are made anew. Decision 022.
 */
export const LAYER_FORMAT = 4;
