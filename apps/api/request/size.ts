import { MAXIMUM_SIZE_BYTES, MINIMUM_SIZE_BYTES, wholeBlocks } from '@bhatti/rootfs';
import { parseBytes } from '@bhatti/tasks';
import { ApiError } from './errors.ts';

/**
 * Parses the size of a file system (see `parseBytes`) to bytes, rounded up to whole 4096-byte blocks.
 * Throws ApiError 400 invalid_request.
 */
export function parseSize(size: string | number): number {
  const given = parseBytes(String(size));
  if (given === null) {
    throw invalidSize(`"${String(size).slice(0, 32)}" is not a size; use 2GB, 512MB, 4GiB or a number of bytes`);
  }
  const bytes = wholeBlocks(given);
  if (bytes < MINIMUM_SIZE_BYTES) throw invalidSize('is too small; give at least 16MiB, or leave it out');
  if (bytes > MAXIMUM_SIZE_BYTES) throw invalidSize('is too large; give at most 16TiB, or leave it out');
  return bytes;
}

function invalidSize(message: string): ApiError {
  return new ApiError(400, 'invalid_request', `field "size" ${message}`);
}
