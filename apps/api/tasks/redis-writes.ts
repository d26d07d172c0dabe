import { KEY_PREFIX, type RedisClient, RedisScript, refusalIn } from '@bhatti/tasks';
import * as z from 'zod';

/** As the answer, and not as an error: at `READONLY` the connection would be made anew, over and over, for as long as a request may take. */
const writeScript = new RedisScript(`
local answer = redis.pcall('SET', KEYS[1], '', 'EX', 60)
return answer.err or false`);

const refusal = z.string().nullable();

/**
 * Redis answers, but takes no task, when its memory is full (`OOM`), its disk is (`MISCONF`), it is a replica (`READONLY`), has none
 * left to write to (`NOREPLICAS`), or lets its user only read (`NOPERM`): the word that it begins with. null where it takes them.
 */
export async function refusalOfWrites(redis: RedisClient): Promise<string | null> {
  const answer = refusal.parse(await writeScript.run(redis, [`${KEY_PREFIX}:write-check`], []));
  return answer === null ? null : (refusalIn(answer)?.word ?? 'see its log');
}
