import { constants } from 'node:os';
import * as z from 'zod';

/** Of Linux, see errno(3): Node's own list lacks it. */
const EUCLEAN = 117;

const { EBADMSG, EDQUOT, ESTALE } = constants.errno;

/** Those of quotas, of NFS, and of file systems that are damaged: Node has no names for them. */
const UNNAMED: ReadonlyMap<number, string> = new Map(
  Object.entries({ EBADMSG, EDQUOT, ESTALE, EUCLEAN }).map(([name, number]) => [-number, name]),
);

/** What Node gives as the code in their place: the first where the call was a synchronous one. */
const NO_NAME = /^UNKNOWN$|^Unknown system error /;

const coded = z.object({ code: z.string(), errno: z.number().optional().catch(undefined) });

/** The `code` of a Node error (`ENOENT`), by the name that errno(3) has for it; undefined for what has none. */
export function systemErrorName(error: unknown): string | undefined {
  const { code, errno = 0 } = coded.safeParse(error).data ?? {};
  return code !== undefined && NO_NAME.test(code) ? (UNNAMED.get(errno) ?? code) : code;
}
