import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { syncToDisk } from './durable-file.ts';
import { StoreError, storing } from './error.ts';
import { ifThere, unlinkIfThere } from './if-there.ts';
import { fileName, isFileName } from './names.ts';
import { removeOrphans } from './orphans.ts';
import { ownIdentity } from './process-identity.ts';
import { temporaryName } from './temporary-name.ts';

/** Bytes that an upload leaves free, so that whatever else uses the disk (Redis, the catalog, logs) keeps working. */
const RESERVE = 64 * 1024 * 1024;

/** Bytes between checks of the free space, since others write to the disk too. */
const LOOK_INTERVAL = 32 * 1024 * 1024;

/** Archives that were sent to be imported. Each is named after its task, which removes it when it ends. */
export class Uploads {
  readonly #folder: string;
  readonly #freeBytes: () => Promise<number>;

  constructor(folder: string, freeBytes: () => Promise<number>) {
    this.#folder = folder;
    this.#freeBytes = freeBytes;
  }

  /** @throws StoreError `invalid_name` */
  path(id: string): string {
    return join(this.#folder, fileName('upload', id));
  }

  /**
   * Writes a stream to the upload of this id (mode 0600), which appears only once it is complete and synced. Resolves to its size in
   * bytes. A failed upload leaves nothing behind.
   *
   * @param arriving called just before the upload appears; if it rejects, so does this
   * @throws StoreError `no_space`, or what the stream throws
   */
  async receive(
    id: string,
    content: AsyncIterable<Uint8Array>,
    arriving: () => Promise<void> = async () => {},
  ): Promise<number> {
    const path = this.path(id);
    const temporary = join(this.#folder, temporaryName(await ownIdentity()));
    let written = temporary;
    try {
      const bytes = await this.#write(temporary, content);
      await arriving();
      await storing('publish an upload', async () => {
        await rename(temporary, path);
        written = path;
        await syncToDisk(this.#folder);
      });
      return bytes;
    } catch (error) {
      // If that fails, it will be removed as an orphan; the first error is the one to report.
      await rm(written, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  async #write(path: string, content: AsyncIterable<Uint8Array>): Promise<number> {
    const file = await storing('receive an upload', () => open(path, 'wx', 0o600));
    let bytes = 0;
    let looked = -LOOK_INTERVAL;
    try {
      for await (const chunk of content) {
        if (bytes + chunk.length - looked >= LOOK_INTERVAL) {
          await this.requireRoom(chunk.length);
          looked = bytes;
        }
        await storing('receive an upload', () => file.writeFile(chunk));
        bytes += chunk.length;
      }
      // Once the sender is told that it has arrived, ours may be the only copy.
      await storing('receive an upload', () => file.sync());
    } finally {
      await file.close();
    }
    return bytes;
  }

  /** @throws StoreError `no_space` unless so many bytes of an upload, and the reserve, fit on the disk */
  async requireRoom(bytes: number): Promise<void> {
    const free = await this.#freeBytes();
    if (free >= bytes + RESERVE) return;
    throw new StoreError(
      'no_space',
      `no space for the upload on the disk of the data directory: ${Math.ceil((bytes + RESERVE) / 1e6)} MB have to be free, as 64 MiB always stay so, and ${Math.floor(free / 1e6)} MB are; free some and try again`,
    );
  }

  /** Bytes of an upload; undefined when it does not exist. */
  async size(id: string): Promise<number | undefined> {
    const path = this.path(id);
    return storing('look at an upload', async () => (await ifThere(stat(path)))?.size);
  }

  async remove(id: string): Promise<void> {
    const path = this.path(id);
    await storing('remove an upload', () => unlinkIfThere(path));
  }

  /** Makes a folder (mode 0700) for unpacking an upload. The caller has to remove it; if its process dies, it is an orphan. */
  async makeScratch(): Promise<string> {
    const path = join(this.#folder, temporaryName(await ownIdentity()));
    await storing('make a scratch folder', () => mkdir(path, { mode: 0o700 }));
    return path;
  }

  /** The ids of all uploads; other files that somebody has put there are ignored. */
  async list(): Promise<string[]> {
    return storing('list uploads', async () => {
      const ids: string[] = [];
      for (const name of await readdir(this.#folder)) {
        if (!isFileName(name)) continue;
        const file = await ifThere(stat(join(this.#folder, name)));
        if (file?.isFile()) ids.push(name);
      }
      return ids;
    });
  }

  /** Removes what dead processes have left from receiving or unpacking. */
  async removeOrphans(): Promise<void> {
    await removeOrphans(this.#folder);
  }
}
