import * as z from 'zod';
import { systemErrorName } from './system-error-name.ts';
import { systemFailure } from './system-failure.ts';

export type StoreErrorCode =
  | 'disk_failed'
  | 'internal'
  | 'invalid_name'
  | 'invalid_request'
  | 'no_space'
  | 'not_found'
  | 'not_writable'
  | 'out_of_resources'
  | 'rootfs_damaged';

/** A failure of the data directory, with a stable code, and whether trying again can help. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;
  readonly retryable: boolean;

  constructor(code: StoreErrorCode, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

/** Errors where a file is in the place of a folder, or the reverse. */
const IN_THE_WAY: ReadonlySet<string> = new Set(['EEXIST', 'EISDIR']);
const withPath = z.object({ path: z.string(), dest: z.string().optional() });

/** The code of a system error (`ENOENT`); undefined for other errors. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof StoreError ? undefined : systemErrorName(error);
}

/** Runs file operations, and converts what they throw to a StoreError that says what was being done (`cannot ${what}`). */
export async function storing<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toStoreError(what, error);
  }
}

function toStoreError(what: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const failure = systemFailure(error, what);
  if (failure !== undefined) {
    return new StoreError(failure.code, failure.message, { retryable: failure.retryable, cause: error });
  }
  const code = systemCode(error);
  const { path, dest = path } = withPath.safeParse(error).data ?? {};
  if (IN_THE_WAY.has(code ?? '') && dest !== undefined) {
    return new StoreError('not_writable', `cannot ${what}: ${dest} is in the way (${code}); move it elsewhere`, {
      cause: error,
    });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new StoreError('internal', `cannot ${what}: ${message}`, { cause: error });
}
