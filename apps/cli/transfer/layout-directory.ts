import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';
import { CliError, systemErrorCode } from '../cli-error.ts';
import { importFromFolder } from './local-source.ts';

/** The file that says a directory is an OCI layout (OCI image spec, "Image Layout Specification"). */
const MARKER = 'oci-layout';

/** The manifest in a directory that skopeo or Podman wrote as `dir:` (containers-transports(5)), which is no layout. */
const SKOPEO_MANIFEST = 'manifest.json';

/**
 * Packs an OCI layout directory, as `skopeo copy … oci:DIR`, umoci and BuildKit write it, into a tar. Leaves out symlinks and
 * anything else that is no file: a layout has none.
 *
 * @throws CliError `not_found` when there is no layout in the directory; the stream fails with one when a file cannot be read
 */
export async function layoutDirectory(path: string): Promise<Readable> {
  if (!(await isFile(join(path, MARKER)))) {
    const isSkopeos = await isFile(join(path, SKOPEO_MANIFEST));
    throw new CliError('not_found', `${path} is a directory, but no OCI layout: it has no file ${MARKER}`, {
      hint: isSkopeos
        ? `If skopeo wrote it as dir: ${importFromFolder(path)}`
        : `--tar takes an archive, or a layout as skopeo copy docker://IMAGE oci:${path} leaves it.`,
    });
  }
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(path, join(entry.parentPath, entry.name)))
    .sort();
  return Readable.from(tarOf(path, files));
}

async function* tarOf(directory: string, files: readonly string[]): AsyncGenerator<unknown> {
  const tar = pack();
  const packed = (async () => {
    for (const name of files) {
      const file = join(directory, name);
      const { size, mtime } = await stat(file);
      await pipeline(createReadStream(file), tar.entry({ name, size, mtime, mode: 0o644 }));
    }
    tar.finalize();
  })().catch((error: unknown) => tar.destroy(unreadable(directory, error)));
  try {
    for await (const chunk of tar) yield chunk;
  } finally {
    tar.destroy();
    await packed;
  }
}

function unreadable(directory: string, cause: unknown): CliError {
  const words = systemErrorCode(cause) ?? (cause instanceof Error ? cause.message : String(cause));
  return new CliError('import_failed', `cannot read the layout ${directory} (${words})`, { cause });
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
