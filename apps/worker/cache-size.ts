import { z } from 'zod';

const units: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Bytes of a limit as people write it, `20GB` or `1.5GiB`, for zod's `transform`; `none` is no limit, 0 keeps nothing. */
export function parseCacheSize(text: string, context: z.RefinementCtx): number | undefined {
  if (text.trim().toLowerCase() === 'none') return undefined;
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]{0,3})$/.exec(text.trim());
  const unit = units[match?.[2]?.toUpperCase() ?? ''];
  if (match !== null && unit !== undefined) return Math.floor(Number(match[1]) * unit);
  context.addIssue({
    code: 'custom',
    message: `"${text.slice(0, 32)}" is no size; use 20GB, 512MiB, a number of bytes, or none`,
  });
  return z.NEVER;
}
