import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import type { LayerSource } from './registry.ts';

/** A gzip layer of regular files, and the folders above them. */
export async function fileLayer(files: Readonly<Record<string, string | Buffer>>): Promise<LayerSource> {
  const tar = pack();
  const folders = new Set<string>();
  for (const [name, content] of Object.entries(files)) {
    for (let slash = name.indexOf('/'); slash !== -1; slash = name.indexOf('/', slash + 1)) {
      const folder = name.slice(0, slash);
      if (!folders.has(folder)) tar.entry({ name: folder, type: 'directory', mode: 0o755, mtime: new Date(0) });
      folders.add(folder);
    }
    tar.entry({ name, mode: 0o755, mtime: new Date(0) }, content);
  }
  tar.finalize();
  return { tar: await buffer(tar) };
}
