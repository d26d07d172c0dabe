import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { storing } from './error.ts';
import { namesIn, remakeFolder } from './folder.ts';
import { ifThere, unlinkIfThere } from './if-there.ts';
import { digestHex } from './names.ts';

/** Compressed bytes of downloads in progress, by the digest of the blob: a later attempt continues where one stopped. */
export class PartialFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  path(digest: string): string {
    return join(this.#folder, digestHex(digest));
  }

  /** To be called before a download: makes the folder again where somebody has removed it. @throws StoreError */
  async prepare(): Promise<void> {
    await storing('make the folder of partial downloads', () => remakeFolder(this.#folder));
  }

  /** Bytes in the file; 0 when there is none. */
  async size(digest: string): Promise<number> {
    const path = this.path(digest);
    return storing('look at a partial download', async () => (await ifThere(stat(path)))?.size ?? 0);
  }

  /** Whether there is a file, even an empty one, which a full disk may leave. */
  async has(digest: string): Promise<boolean> {
    const path = this.path(digest);
    return storing('look for a partial download', async () => (await ifThere(stat(path))) !== undefined);
  }

  async remove(digest: string): Promise<void> {
    const path = this.path(digest);
    await storing('remove a partial download', () => unlinkIfThere(path));
  }

  /** The digests (`sha256:<hex>`) of all partial downloads. */
  async list(): Promise<string[]> {
    const names = await storing('list partial downloads', () => namesIn(this.#folder));
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((hex) => `sha256:${hex}`);
  }

  /** The digests of those that have not been written to for longer than `ageMs`, by this host's clock. */
  async olderThan(ageMs: number): Promise<string[]> {
    const old: string[] = [];
    for (const digest of await this.list()) {
      const path = this.path(digest);
      const file = await storing('look at a partial download', () => ifThere(stat(path)));
      if (file !== undefined && Date.now() - file.mtimeMs > ageMs) old.push(digest);
    }
    return old;
  }
}
