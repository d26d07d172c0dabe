import { access, type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../error.ts';
import { DATA_FILE, INDEX_FILE, isIndexHeader } from './layer-index.ts';

/** Bytes; far more than the first line of an index. */
const HEAD = 4096;

/** Whether a directory of the layer cache exists and has this version's format; `buildRootfs` accepts no other. */
export async function isCurrentLayer(directory: string): Promise<boolean> {
  let index: FileHandle;
  try {
    await access(join(directory, DATA_FILE));
    index = await open(join(directory, INDEX_FILE), 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
  try {
    const { buffer, bytesRead } = await index.read(Buffer.alloc(HEAD), 0, HEAD, 0);
    const end = buffer.indexOf('\n');
    return end >= 0 && end < bytesRead && isIndexHeader(buffer.toString('latin1', 0, end));
  } catch (error) {
    // See `layerReadFailure`.
    if (systemCode(error) === 'EIO') return false;
    throw error;
  } finally {
    await index.close();
  }
}
