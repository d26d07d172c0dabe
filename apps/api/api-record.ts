import { randomBytes } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';

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
export type ApiRecord = z.infer<typeof apiRecord>;

/** Ms. The CLI takes the record of another host for one that was left behind after a minute without a change. */
const REFRESH = 10_000;

/** What `bhatti serve status` and the CLI read of a running API: DATA_DIR/run/api.json. */
export class ApiRecordFile {
  readonly #path: string;
  readonly #owner = { host: hostname(), pid: process.pid };
  /** undefined unless this API has written the record, and not removed it. */
  #refreshing: NodeJS.Timeout | undefined;
  /** Settles when the last refresh is over: one that a removal overtook would leave the record behind. */
  #refreshed = Promise.resolve();

  constructor(runDirectory: string) {
    this.#path = join(runDirectory, 'api.json');
  }

  /** Writes the record, whole or not at all, and keeps it fresh until it is removed. */
  async write(record: Omit<ApiRecord, 'host' | 'pid'>): Promise<void> {
    await this.#replace({ ...this.#owner, ...record });
    this.#refreshing = setInterval(() => this.refresh(), REFRESH).unref();
  }

  /** Shows those on other hosts that this API is still there. Never rejects: the next refresh may succeed. */
  refresh(): Promise<void> {
    this.#refreshed = this.#refresh().catch(() => undefined);
    return this.#refreshed;
  }

  /** Removes the record that was written, unless another API has written its own meanwhile. */
  async remove(): Promise<void> {
    // An API that did not start leaves all as it is: the one that it found may have its host name and pid, in another container.
    if (this.#refreshing === undefined) return;
    clearInterval(this.#refreshing);
    this.#refreshing = undefined;
    await this.#refreshed;
    if ((await this.#readOwn()) !== undefined) await rm(this.#path, { force: true });
  }

  async #refresh(): Promise<void> {
    const own = await this.#readOwn();
    if (own !== undefined) await this.#replace(own);
  }

  async #replace(record: ApiRecord): Promise<void> {
    // Not named for the pid, which may be that of an API in another container. libs/store/orphans.ts knows the form.
    const temporary = `${this.#path}.${randomBytes(4).toString('hex')}`;
    try {
      await writeFile(temporary, `${JSON.stringify(record)}\n`, { mode: 0o600 });
      await rename(temporary, this.#path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /** undefined when there is none, or it is another API's: processes of two containers may have the same pid. */
  async #readOwn(): Promise<ApiRecord | undefined> {
    const record = await readFile(this.#path, 'utf8')
      .then((text) => apiRecord.safeParse(JSON.parse(text)).data)
      .catch(() => undefined);
    return record?.host === this.#owner.host && record.pid === this.#owner.pid ? record : undefined;
  }
}
