import { constants } from 'node:os';
import * as z from 'zod';

const systemError = z.object({ code: z.string(), errno: z.number(), syscall: z.string() });

/** Whether the error comes from a system call that failed. */
export function isSystemError(error: unknown): boolean {
  return systemError.safeParse(error).success;
}

/** Whether the error says that a disk is full, or a quota exhausted (EDQUOT, for which Node has no name). */
export function isDiskFull(error: unknown): boolean {
  const { code, errno } = systemError.safeParse(error).data ?? {};
  return code === 'ENOSPC' || errno === -constants.errno.EDQUOT;
}
