import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';

/** What `bhatti serve status` and the CLI read of a running API: DATA_DIR/run/api.json. */
const apiRecord = z.object({
  /** Several may share the data directory; the record is that of the API that started last. */
  host: z.string(),
  pid: z.int(),
  /** The URL of the TCP listener; null when there is the unix socket only. */
  listen: z.string().nullable(),
  /** The default `host:port`, where another program had it; null for every other reason that there is no listener. */
  taken: z.string().nullable(),
  /** ISO 8601. */
  startedAt: z.string(),
});
export type ApiRecord = Omit<z.infer<typeof apiRecord>, 'host'>;

/** Writes the record, whole or not at all. */
export async function writeApiRecord(runDirectory: string, record: ApiRecord): Promise<void> {
  const path = recordPath(runDirectory);
  const temporary = `${path}.${record.pid}`;
  try {
    await writeFile(temporary, `${JSON.stringify({ host: hostname(), ...record })}\n`, { mode: 0o600 });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Removes the record, unless another process has written its own meanwhile. */
export async function removeApiRecord(runDirectory: string, pid: number): Promise<void> {
  const path = recordPath(runDirectory);
  const text = await readFile(path, 'utf8').catch(() => null);
  const record = text === null ? undefined : apiRecord.safeParse(parseJson(text)).data;
  if (record?.host !== hostname() || record.pid !== pid) return;
  await rm(path, { force: true });
}

function recordPath(runDirectory: string): string {
  return join(runDirectory, 'api.json');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
