import { constants } from 'node:os';
import * as z from 'zod';

const codes = [
  'cancelled',
  'digest_mismatch',
  'e2fsck_failed',
  'e2fsck_missing',
  'expansion_too_large',
  'image_too_large',
  'internal',
  'layer_corrupt',
  'layer_damaged',
  'layer_too_large',
  'mke2fs_failed',
  'mke2fs_missing',
  'no_space',
  'path_escapes_root',
  'size_mismatch',
] as const;

export type RootfsErrorCode = (typeof codes)[number];

/** A failure on the way from layers to an ext4 file, with a stable code, and whether trying again can help. */
export class RootfsError extends Error {
  override readonly name = 'RootfsError';
  readonly code: RootfsErrorCode;
  readonly retryable: boolean;
  /** With `layer_damaged`: the directory of the decoded layer. */
  readonly damagedLayer: string | undefined;

  constructor(
    code: RootfsErrorCode,
    message: string,
    options: { retryable?: boolean; damagedLayer?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.damagedLayer = options.damagedLayer;
  }
}

/** The error for work whose signal was aborted. */
export function cancelled(cause: unknown): RootfsError {
  return new RootfsError('cancelled', 'the work was cancelled', { cause });
}

/** The error for a full disk, as the system reports it. */
export function noSpace(cause?: unknown): RootfsError {
  const message = 'no space left on the device that holds the data directory; free some and try again';
  return new RootfsError('no_space', message, { cause });
}

/** The error for a decoded layer that is not what was written: retryable, once it is decoded again. */
export function damagedLayer(directory: string, what: string, cause?: unknown): RootfsError {
  const message = `the decoded layer in ${directory} is damaged: ${what}`;
  return new RootfsError('layer_damaged', message, { retryable: true, damagedLayer: directory, cause });
}

/** What to throw when a decoded layer cannot be read: what the disk has lost (EIO) comes back once the layer is decoded again. */
export function layerReadFailure(directory: string, error: unknown): unknown {
  return systemCode(error) === 'EIO' ? damagedLayer(directory, 'the disk does not read it', error) : error;
}

const coded = z.object({ code: z.string(), errno: z.number().optional() });

/** The form in which an error crosses from a worker thread to its caller. */
export const threadFailure = z.object({
  code: z.enum(codes),
  message: z.string(),
  retryable: z.boolean(),
  damagedLayer: z.string().optional(),
  /** Code and number of the system error that caused it, if one did. */
  cause: coded.optional(),
});
export type ThreadFailure = z.infer<typeof threadFailure>;

/** The code of a system error (`ENOSPC`, `EINVAL`, …); undefined for other errors. */
export function systemCode(error: unknown): string | undefined {
  return coded.safeParse(error).data?.code;
}

/** Converts any thrown value to a RootfsError: a full disk to `no_space`, anything unforeseen to `internal`. */
export function toRootfsError(error: unknown): RootfsError {
  if (error instanceof RootfsError) return error;
  const { code, errno } = coded.safeParse(error).data ?? {};
  // Node has no name for EDQUOT.
  if (code === 'ENOSPC' || errno === -constants.errno.EDQUOT) return noSpace(error);
  const message = error instanceof Error ? error.message : String(error);
  return new RootfsError('internal', message, { cause: error });
}

/** The plain object for an error that crosses to another thread. */
export function toThreadFailure(error: unknown): ThreadFailure {
  const { code, message, retryable, damagedLayer, cause } = toRootfsError(error);
  return { code, message, retryable, damagedLayer, cause: coded.safeParse(cause).data };
}
