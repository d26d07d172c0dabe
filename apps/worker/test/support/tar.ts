import { buffer } from 'node:stream/consumers';
import { type Header, pack } from 'tar-stream';

/** An entry of a test layer; a text stands for a file's content. */
export interface TarEntry extends Partial<Omit<Header, 'name' | 'size'>> {
  readonly name: string;
  readonly content?: string | Buffer;
}

/** An uncompressed layer. */
export async function layerTar(entries: readonly TarEntry[]): Promise<Buffer> {
  const tar = pack();
  for (const { content, ...header } of entries) tar.entry({ mtime: new Date(0), ...header }, content ?? '');
  tar.finalize();
  return buffer(tar);
}
