import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';

/** What `bhatti serve status` and the CLI read of a running API: DATA_DIR/run/api.json. */
const apiRecord = z.object({
  pid: z.int(),
  /** The URL of the TCP listener; null when there is the unix socket only. */
  listen: z.string().nullable(),
  /** The default `host:port`, where another program had it; null for every other reason that there is no listener. */
  taken: z.string().nullable(),
  /** ISO 8601. */
  startedAt: z.string(),
});
export type ApiRecord = z.infer<typeof apiRecord>;

/** Writes the record, whole or not at all. */
export async function writeApiRecord(runDirectory: string, record: ApiRecord): Promise<void> {
  const path = recordPath(runDirectory);
  const temporary = `${path}.${record.pid}`;
  try {
    await writeFile(temporary, `${JSON.stringify(record)}\n`, { mode: 0o600 });
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
  if (text === null || apiRecord.safeParse(parseJson(text)).data?.pid !== pid) return;
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
