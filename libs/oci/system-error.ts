import { constants } from 'node:os';
import * as z from 'zod';
import { OciError } from './error.ts';

const coded = z.object({ code: z.string() });
const systemError = z.object({ code: z.string(), errno: z.number(), syscall: z.string() });

/** The code of a system, TLS or undici error; empty when it has none. */
export function errorCode(error: unknown): string {
  const parsed = coded.safeParse(error);
  return parsed.success ? parsed.data.code : '';
}

/** Whether the error comes from a system call that failed. */
export function isSystemError(error: unknown): boolean {
  return systemError.safeParse(error).success;
}

/** Whether the error says that a disk is full, or a quota exhausted (EDQUOT, for which Node has no name). */
export function isDiskFull(error: unknown): boolean {
  const { code, errno } = systemError.safeParse(error).data ?? {};
  return code === 'ENOSPC' || errno === -constants.errno.EDQUOT;
}

/** The error for a file in the data directory that cannot be read or written; an OciError is returned as it is. */
export function fileError(cause: unknown, what: string): OciError {
  if (cause instanceof OciError) return cause;
  if (isDiskFull(cause)) {
    const message = 'no space left in the data directory; free some, or use another with --data-dir';
    return new OciError('no_space', message, { cause });
  }
  return new OciError('internal', `${what} (${errorCode(cause) || String(cause)})`, { cause });
}
