import * as z from 'zod';

const coded = z.object({ code: z.string() });

/** The code of an error that has one: the system's and Node's own (`ENOENT`), those of the libs (`not_found`). */
export function errorCode(error: unknown): string | undefined {
  return coded.safeParse(error).data?.code;
}
