import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { program, root } from '../../scripts/bundle.ts';

/**
 * Bundles a file of this project into a directory, for programs that a test starts. They load it in a tenth of a second: from TypeScript,
 * each of them compiles it, which takes a second. Returns its URL.
 */
export async function bundled(file: string, directory: string): Promise<string> {
  const outfile = join(directory, `${file.replaceAll('/', '-').replace(/\.ts$/, '')}.js`);
  await build({ ...program, entryPoints: [file], outfile });
  return pathToFileURL(outfile).href;
}

/** Puts what a bundle looks for at its side into its directory: the packages that are not in it, and the program of the threads. */
export async function linkForBundles(directory: string): Promise<void> {
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
  await symlink(join(root, 'dist', 'rootfs-thread.js'), join(directory, 'rootfs-thread.js'));
}
