import { constants } from 'node:os';
import * as z from 'zod';

/** Linux's number (errno(3)), which is missing in Node's list. */
const EUCLEAN = 117;

const { EBADMSG, EDQUOT, ESTALE } = constants.errno;

/** Errors of quotas, of NFS and of damaged file systems, for which Node has no names. */
const UNNAMED: ReadonlyMap<number, string> = new Map(
  Object.entries({ EBADMSG, EDQUOT, ESTALE, EUCLEAN }).map(([name, number]) => [-number, name]),
);

/** What Node uses as their `code` instead: the first one for synchronous calls. */
const NO_NAME = /^UNKNOWN$|^Unknown system error /;

const coded = z.object({ code: z.string(), errno: z.number().optional().catch(undefined) });

/** The `code` of a Node error, as errno(3) names it (`ENOENT`); undefined for an error without one. */
export function systemErrorName(error: unknown): string | undefined {
  const { code, errno = 0 } = coded.safeParse(error).data ?? {};
  return code !== undefined && NO_NAME.test(code) ? (UNNAMED.get(errno) ?? code) : code;
}
