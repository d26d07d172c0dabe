import { constants } from 'node:os';
import * as z from 'zod';

const systemError = z.object({ code: z.string(), errno: z.number(), syscall: z.string() });

/** Whether the system has caused the error: it says which of its calls failed. */
export function isSystemError(error: unknown): boolean {
  return systemError.safeParse(error).success;
}

/** Whether the error says that a disk is full, or a quota used up, for which Node has no name. */
export function isDiskFull(error: unknown): boolean {
  const { code, errno } = systemError.safeParse(error).data ?? {};
  return code === 'ENOSPC' || errno === -constants.errno.EDQUOT;
}
