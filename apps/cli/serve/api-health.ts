import type { LocalPaths } from '../local-paths.ts';
import { ApiClient } from '../server/api-client.ts';
import type { Health } from '../server/api-schema.ts';

/** Ms. */
const TIMEOUT = 1000;

/** The health of the API on the socket of a data directory; undefined if none answers. */
export async function healthOf(paths: LocalPaths): Promise<Health | undefined> {
  const client = new ApiClient({ kind: 'socket', path: paths.apiSocket });
  try {
    return await client.health(TIMEOUT);
  } catch {
    return undefined;
  } finally {
    client.close();
  }
}
