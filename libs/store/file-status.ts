import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { systemCode } from './error.ts';

/** What is at a path; undefined when nothing is. */
export async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
