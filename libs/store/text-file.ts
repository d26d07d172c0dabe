import { readFile } from 'node:fs/promises';
import { StoreError, systemCode } from './error.ts';
import { ifThere } from './if-there.ts';

/**
 * The text of a file; undefined when there is no such file.
 *
 * @throws StoreError `not_writable` for a directory, whose name Node's own error lacks; other errors are Node's
 */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await ifThere(readFile(path, 'utf8'));
  } catch (error) {
    if (systemCode(error) !== 'EISDIR') throw error;
    throw new StoreError('not_writable', `${path} is a directory, where a file has to be; move it elsewhere`, {
      cause: error,
    });
  }
}
