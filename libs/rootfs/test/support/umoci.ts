import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeLayer } from './layers.ts';
import type { TarItem } from './tar-writer.ts';

const run = promisify(execFile);

/** Why umoci cannot unpack here; undefined when it can. */
export async function whyNoUmoci(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'not root';
  try {
    await run('umoci', ['--version']);
    return undefined;
  } catch {
    return 'umoci is not installed';
  }
}

/** Unpacks layers, lowest first, with umoci, and returns the directory with the root filesystem. Needs root. */
export async function unpackWithUmoci(directory: string, layers: readonly Iterable<TarItem>[]): Promise<string> {
  const layout = join(directory, 'layout');
  const blobs = join(layout, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  const writeBlob = async (mediaType: string, value: unknown) => {
    const bytes = Buffer.from(JSON.stringify(value));
    const hex = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(blobs, hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };

  const descriptors = [];
  for (const items of layers) {
    const scratch = join(directory, 'layer.tar');
    const { digest, size } = await writeLayer(scratch, items);
    await rename(scratch, join(blobs, digest.slice('sha256:'.length)));
    descriptors.push({ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size });
  }
  const config = await writeBlob('application/vnd.oci.image.config.v1+json', {
    architecture: 'amd64',
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: descriptors.map(({ digest }) => digest) },
  });
  const manifest = await writeBlob('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: descriptors,
  });
  await writeFile(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'test' } }],
    }),
  );
  const bundle = join(directory, 'bundle');
  await run('umoci', ['unpack', '--image', `${layout}:test`, bundle], { maxBuffer: 64 * 1024 * 1024 });
  return join(bundle, 'rootfs');
}
