import * as z from 'zod';

/** Blocks of a layer's data file that go to consecutive blocks of the image. */
export const copyRun = z.object({ layer: z.number(), from: z.number(), to: z.number(), blocks: z.number() });
export type CopyRun = z.infer<typeof copyRun>;

/** Appends a run, merging it with the last one where it continues it. */
export function addCopyRun(runs: CopyRun[], run: CopyRun): void {
  const last = runs.at(-1);
  if (last?.layer === run.layer && last.from + last.blocks === run.from && last.to + last.blocks === run.to)
    last.blocks += run.blocks;
  else runs.push(run);
}
