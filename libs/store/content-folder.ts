import { readdir, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { storing, systemCode } from './error.ts';
import { statIfThere } from './file-status.ts';
import { digestHex } from './names.ts';
import { ownIdentity } from './process-identity.ts';
import { beginPublication, type Publication } from './publication.ts';
import { temporaryName } from './temporary-name.ts';
import { syncPublished, syncStateOf } from './unsynced-marker.ts';

/** An entry and what an eviction has to know of it. */
export interface ContentEntry {
  /** 64 hex digits. */
  readonly hex: string;
  /** Bytes on disk. */
  readonly allocatedBytes: number;
  readonly lastUsed: Date;
}

/** A folder of immutable folders, each named by the SHA-256 of its content. */
export class ContentFolder {
  readonly folder: string;
  readonly #check: ((directory: string) => Promise<void>) | undefined;
  /** Published by this process and not synced yet. */
  readonly #unsynced = new Set<string>();
  #scanned = false;

  constructor(folder: string, check?: (directory: string) => Promise<void>) {
    this.folder = folder;
    this.#check = check;
  }

  /** Throws StoreError `invalid_name` for what is no digest. */
  path(digest: string): string {
    return join(this.folder, digestHex(digest));
  }

  async has(digest: string): Promise<boolean> {
    const path = this.path(digest);
    return storing('look for an entry', () => isDirectory(path));
  }

  begin(digest: string): Promise<Publication> {
    return beginPublication({
      target: this.path(digest),
      onPublished: (target) => this.#unsynced.add(target),
      ...(this.#check === undefined ? {} : { check: this.#check }),
    });
  }

  /** Notes that the entry is used now. One that is not there is left alone. */
  async touch(digest: string): Promise<void> {
    const path = this.path(digest);
    const now = new Date();
    await storing('touch an entry', async () => {
      try {
        await utimes(path, now, now);
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error;
      }
    });
  }

  /** When the entry was published or used last, undefined when it is not there. */
  async lastUsed(digest: string): Promise<Date | undefined> {
    const path = this.path(digest);
    return storing('look at an entry', async () => (await statIfThere(path))?.mtime);
  }

  /** Takes the entry away in one step; no reader sees half of it. Returns where it went, undefined when it was not there. */
  async setAside(digest: string): Promise<string | undefined> {
    const path = this.path(digest);
    const aside = join(this.folder, temporaryName(await ownIdentity()));
    return storing('set an entry aside', async () => {
      try {
        await rename(path, aside);
        return aside;
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return undefined;
        throw error;
      }
    });
  }

  /** Gives an entry that was set aside its name again. False when another was made meanwhile: then ours is removed. */
  async putBack(aside: string, digest: string): Promise<boolean> {
    const path = this.path(digest);
    return storing('put an entry back', async () => {
      try {
        await rename(aside, path);
        return true;
      } catch (error) {
        const code = systemCode(error);
        if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
        await this.removeAside(aside);
        return false;
      }
    });
  }

  async removeAside(aside: string): Promise<void> {
    await storing('remove an entry', () => rm(aside, { recursive: true, force: true }));
  }

  async remove(digest: string): Promise<void> {
    const aside = await this.setAside(digest);
    if (aside === undefined) return;
    this.#unsynced.delete(this.path(digest));
    await this.removeAside(aside);
  }

  /** The digests (64 hex digits) of all published entries. */
  async digests(): Promise<string[]> {
    const names = await storing('list entries', () => readdir(this.folder));
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  async list(): Promise<ContentEntry[]> {
    const entries: ContentEntry[] = [];
    for (const hex of await this.digests()) {
      const entry = await storing('look at an entry', () => describe(this.path(hex), hex));
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }

  /** Removes the entries of which a power loss may have taken parts. */
  async removeLost(): Promise<void> {
    for (const hex of await this.digests()) {
      if ((await storing('check an entry', () => syncStateOf(this.path(hex)))) === 'lost') await this.remove(hex);
    }
  }

  /** Brings to the disk what this process published since the last call; the first call looks at all entries. */
  async sync(): Promise<void> {
    const targets = this.#scanned ? [...this.#unsynced] : (await this.digests()).map((hex) => this.path(hex));
    for (const target of targets) {
      await storing('sync an entry', () => this.#syncOne(target));
      this.#unsynced.delete(target);
    }
    this.#scanned = true;
  }

  async #syncOne(target: string): Promise<void> {
    try {
      if ((await syncStateOf(target)) === 'unsynced') await syncPublished(target, this.folder);
    } catch (error) {
      // Removed meanwhile, or synced by another process, which took the marker away.
      if (systemCode(error) !== 'ENOENT') throw error;
    }
  }
}

async function describe(path: string, hex: string): Promise<ContentEntry | undefined> {
  const folder = await statIfThere(path);
  if (folder === undefined) return undefined;
  let blocks = folder.blocks;
  for (const name of await readdir(path)) blocks += (await statIfThere(join(path, name)))?.blocks ?? 0;
  return { hex, allocatedBytes: blocks * 512, lastUsed: folder.mtime };
}

async function isDirectory(path: string): Promise<boolean> {
  return (await statIfThere(path))?.isDirectory() ?? false;
}
