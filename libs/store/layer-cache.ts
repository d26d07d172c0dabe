import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ContentEntry, ContentFolder } from './content-folder.ts';
import { StoreError } from './error.ts';
import { ifThere } from './if-there.ts';
import type { Publication } from './publication.ts';

/** Decoded layers by `diff_id` (`sha256:<hex>`), each a folder with the files `data` and `index`; see `ContentFolder`. */
export class LayerCache {
  readonly content: ContentFolder;

  constructor(folder: string) {
    this.content = new ContentFolder(folder, checkLayer);
  }

  has(diffId: string): Promise<boolean> {
    return this.content.has(diffId);
  }

  directory(diffId: string): string {
    return this.content.path(diffId);
  }

  begin(diffId: string): Promise<Publication> {
    return this.content.begin(diffId);
  }

  /** Sets the layer's time of last use to now: the least recently used are evicted first. */
  touch(diffId: string): Promise<void> {
    return this.content.touch(diffId);
  }

  /** Every layer with its size on disk and its last use, in no particular order. */
  list(): Promise<ContentEntry[]> {
    return this.content.list();
  }

  remove(diffId: string): Promise<void> {
    return this.content.remove(diffId);
  }
}

async function checkLayer(directory: string): Promise<void> {
  for (const name of ['data', 'index']) {
    const file = await ifThere(stat(join(directory, name)));
    if (!file?.isFile()) throw new StoreError('internal', `a layer without its ${name} file is not published`);
  }
}
