import { readFile } from 'node:fs/promises';
import { systemCode } from './error.ts';

/** The content of a text file; undefined when there is none. */
export async function textIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
