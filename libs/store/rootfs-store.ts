import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { ContentFolder } from './content-folder.ts';
import { writeDurably } from './durable-file.ts';
import { StoreError, storing, systemCode } from './error.ts';
import { ifThere } from './if-there.ts';
import { removeOrphans } from './orphans.ts';
import type { Publication } from './publication.ts';
import { RootfsRecord } from './rootfs-record.ts';
import { toTheEnd } from './to-the-end.ts';

const imageFile = 'rootfs.ext4';
const recordFile = 'image.json';

/** A root filesystem that is being built. */
export interface RootfsPublication extends Publication {
  /** Where to write the file system: `rootfs.ext4` in the temporary folder. */
  readonly path: string;
  /** To be called before `publish`. */
  writeRecord(record: RootfsRecord): Promise<void>;
}

/** Built root filesystems, by `rootfsKey` (64 hex digits). Immutable once published. */
export class RootfsStore {
  readonly content: ContentFolder;

  constructor(folder: string) {
    this.content = new ContentFolder(folder, checkRootfs);
  }

  /** Whether the root filesystem exists. To give it a name, claim it before calling this; see `removeUnreferencedRootfs`. */
  has(key: string): Promise<boolean> {
    return this.content.has(key);
  }

  /** The path of the `rootfs.ext4` of the key. */
  path(key: string): string {
    return join(this.content.path(key), imageFile);
  }

  async begin(key: string): Promise<RootfsPublication> {
    const publication = await this.content.begin(key);
    const { directory } = publication;
    return {
      ...publication,
      path: join(directory, imageFile),
      writeRecord: (record) =>
        storing('write the record of a root filesystem', () =>
          writeDurably(join(directory, recordFile), formatRecord(record)),
        ),
    };
  }

  /**
   * Opens the `rootfs.ext4` for reading; the caller closes it. POSIX keeps the bytes for as long as it is open, even when the
   * entry is removed meanwhile. Rejects with StoreError `not_found` when it does not exist, `rootfs_damaged` when its size is not
   * `sizeBytes`, which comes from its record (see `read`).
   */
  async open(key: string, { sizeBytes }: Pick<RootfsRecord, 'sizeBytes'>): Promise<FileHandle> {
    const path = this.path(key);
    return storing('open a root filesystem', async () => {
      let file: FileHandle;
      try {
        file = await open(path, 'r');
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error;
        throw new StoreError('not_found', `there is no root filesystem ${key}`, { retryable: true, cause: error });
      }
      try {
        const { size } = await file.stat();
        if (size !== sizeBytes) throw damaged(path, size, sizeBytes);
        return file;
      } catch (error) {
        await file.close();
        throw error;
      }
    });
  }

  /** The record of a root filesystem. Rejects with StoreError `not_found` when it does not exist. */
  async read(key: string): Promise<RootfsRecord> {
    const path = join(this.content.path(key), recordFile);
    return storing('read the record of a root filesystem', async () => {
      try {
        return RootfsRecord.parse(JSON.parse(await readFile(path, 'utf8')));
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error;
        throw new StoreError('not_found', `there is no root filesystem ${key}`, { retryable: true, cause: error });
      }
    });
  }

  /** Removes what dead processes left unfinished, here and within entries (`replaceRecord`), and puts back what they had set aside. */
  async collectOrphans(): Promise<void> {
    const inEntries = async () =>
      toTheEnd(await this.content.digests(), (key) => removeOrphans(this.content.path(key)));
    await toTheEnd([() => this.content.collectOrphans(), inEntries], (work) => work());
  }

  /**
   * Atomically replaces the record that `read` returned; the `rootfs.ext4` never changes. Returns false, and changes nothing, when the
   * root filesystem was removed or rebuilt meanwhile.
   */
  async replaceRecord(key: string, present: RootfsRecord, record: RootfsRecord): Promise<boolean> {
    const path = join(this.content.path(key), recordFile);
    const confirm = async () => {
      if (isDeepStrictEqual(await this.read(key), present)) return;
      throw new StoreError('not_found', `the root filesystem ${key} was rebuilt meanwhile`);
    };
    return storing('write the record of a root filesystem', async () => {
      try {
        await writeDurably(path, formatRecord(record), { confirm });
        return true;
      } catch (error) {
        // ENOENT: the folder was removed, and the temporary file with it.
        if (systemCode(error) === 'ENOENT' || (error instanceof StoreError && error.code === 'not_found')) return false;
        throw error;
      }
    });
  }
}

function damaged(path: string, size: number, built: number): StoreError {
  const message = `${path} has ${size} bytes where ${built} were built; pull the image again, which rebuilds it`;
  return new StoreError('rootfs_damaged', message);
}

function formatRecord(record: RootfsRecord): string {
  return `${JSON.stringify(RootfsRecord.parse(record), null, 2)}\n`;
}

async function checkRootfs(directory: string): Promise<void> {
  for (const name of [imageFile, recordFile]) {
    const file = await ifThere(stat(join(directory, name)));
    if (!file?.isFile()) throw new StoreError('internal', `a root filesystem without its ${name} is not published`);
  }
}
