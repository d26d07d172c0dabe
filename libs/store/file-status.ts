import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { systemCode } from './error.ts';

/** stat(2) of a path; undefined when nothing is there. */
export async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
