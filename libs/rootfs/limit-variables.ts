import * as z from 'zod';
import type { ImageLimits, LayerLimits } from './layer/limits.ts';

/** A whole number, in digits. */
const limit = z
  .string()
  .trim()
  .regex(/^[1-9]\d{0,14}$/, 'must be a whole number, in digits')
  .transform(Number)
  .optional();

/** Environment variables with which the operator limits layers and images. */
export const limitVariables = z.object({
  BHATTI_MAX_LAYER_BYTES: limit,
  BHATTI_MAX_IMAGE_BYTES: limit,
  BHATTI_MAX_ENTRIES: limit,
  BHATTI_MAX_EXPANSION: limit,
});

export interface RootfsLimits {
  readonly layer: Partial<LayerLimits>;
  readonly image: Partial<ImageLimits>;
}

/** The limits that are set; the library's defaults apply to the others. */
export function limitsOf(set: z.output<typeof limitVariables>): RootfsLimits {
  return {
    layer: {
      ...named('tarBytes', set.BHATTI_MAX_LAYER_BYTES),
      ...named('entries', set.BHATTI_MAX_ENTRIES),
      ...named('expansionRatio', set.BHATTI_MAX_EXPANSION),
    },
    image: {
      ...named('contentBytes', set.BHATTI_MAX_IMAGE_BYTES),
      ...named('entries', set.BHATTI_MAX_ENTRIES),
    },
  };
}

function named(name: string, value: number | undefined): Record<string, number> {
  return value === undefined ? {} : { [name]: value };
}
