/**
 * Which reading of tars the layer cache holds. Raised whenever the same tar would give another `index` or `data` than before: a mended
 * decoder, a new field. It is in the first line of each `index` and in the key of a root filesystem (`rootfsKey`): layers of another
 * reading count as absent (`isCurrentLayer`), and images made of them are made anew. Decision 022.
 */
export const LAYER_FORMAT = 5;
