/**
 * Fetches the layers of an image with libs/oci, four at a time as a pull does, and checks their digests as they arrive. Does nothing
 * else. Prints `SECONDS BYTES`. Settings of registries come from the environment (docs/registries.md).
 *
 *     npx tsx scripts/fetch-layers.ts REFERENCE
 */
import { createHash } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRegistryClient, parseReference, type ResolvedLayer, readOperatorSettings } from '../libs/oci/index.ts';

const AT_ONCE = 4;

const reference = parseReference(process.argv[2] ?? '');
const directory = await mkdtemp(join(tmpdir(), 'bhatti-fetch-'));
const client = createRegistryClient(await readOperatorSettings(process.env, directory, { defaultListen: 'none' }));
try {
  const started = performance.now();
  const { layers } = await client.resolve(reference);
  const queue = [...layers];
  const lane = async () => {
    for (let layer = queue.shift(); layer !== undefined; layer = queue.shift()) await fetchLayer(layer);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  const bytes = layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  console.log(`${((performance.now() - started) / 1000).toFixed(3)} ${bytes}`);
} finally {
  await client.close();
  await rm(directory, { recursive: true });
}

async function fetchLayer({ descriptor }: ResolvedLayer): Promise<void> {
  const path = join(directory, descriptor.digest);
  const hash = createHash('sha256');
  const file = await open(path, 'w+');
  try {
    let hashed = 0;
    let hashing = Promise.resolve();
    const follow = async (end: number) => {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(end - hashed), 0, end - hashed, hashed);
      hash.update(buffer.subarray(0, bytesRead));
      hashed += bytesRead;
    };
    const onBytes = (end: number) => {
      hashing = hashing.then(() => follow(end));
    };
    await client.download(reference, descriptor, path, { onBytes });
    await hashing;
    if (`sha256:${hash.digest('hex')}` !== descriptor.digest) throw new Error(`${descriptor.digest} has other bytes`);
  } finally {
    await file.close();
  }
}
