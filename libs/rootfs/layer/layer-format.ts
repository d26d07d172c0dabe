/**
 * Version of the layer cache. Raised whenever the same tar would give another `index` or `data` than before, be it for a decoder fix or a
 * new field. It is in the first line of each `index` and part of the key of a root filesystem (`rootfsKey`): layers of another version
 * count as absent (`isCurrentLayer`), and images made of them are rebuilt. Decision 022.
 */
export const LAYER_FORMAT = 7;
