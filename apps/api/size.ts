import { MAXIMUM_SIZE_BYTES, MINIMUM_SIZE_BYTES } from '@bhatti/rootfs';
import { ApiError } from './errors.ts';

const units: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Blocks of the file system: a size that is not a whole number of them is rounded up. */
const blockBytes = 4096;

/**
 * Bytes of a size as people write it: `2GB`, `512MB`, `1.5 GiB`, `1073741824` or the number. kB, MB, GB, TB are decimal,
 * KiB, MiB, GiB, TiB binary. Rounded up to whole 4096-byte blocks. Throws ApiError 400 invalid_request.
 */
export function parseSize(size: string | number): number {
  const match = /^(\d{1,20}(?:\.\d{1,6})?)\s*([A-Za-z]{0,3})$/.exec(String(size).trim());
  const unit = units[match?.[2]?.toUpperCase() ?? ''];
  if (match === null || unit === undefined) {
    throw invalidSize(`"${String(size).slice(0, 32)}" is not a size; use 2GB, 512MB, 4GiB or a number of bytes`);
  }
  const bytes = Math.ceil((Number(match[1]) * unit) / blockBytes) * blockBytes;
  if (bytes < MINIMUM_SIZE_BYTES) throw invalidSize('is too small; give at least 16MiB, or leave it out');
  if (bytes > MAXIMUM_SIZE_BYTES) throw invalidSize('is too large; give at most 16TiB, or leave it out');
  return bytes;
}

function invalidSize(message: string): ApiError {
  return new ApiError(400, 'invalid_request', `field "size" ${message}`);
}
