/**
 * `floor.ts BLOB...`: the least that a pull has to do, in one Node process: inflate every layer, and hash it compressed and
 * uncompressed. Prints the milliseconds that takes.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';

async function inflateAndHash(path: string): Promise<void> {
  const compressed = createHash('sha256');
  const tar = createHash('sha256');
  const gunzip = createGunzip({ chunkSize: 256 * 1024 });
  createReadStream(path, { highWaterMark: 1024 * 1024 })
    .on('data', (chunk) => compressed.update(chunk))
    .pipe(gunzip);
  await new Promise<void>((resolve, reject) => {
    // Deferred, so that a chunk is hashed here while the next one is inflated in libuv's pool.
    gunzip.on('data', (chunk: Buffer) => setImmediate(() => tar.update(chunk)));
    gunzip.on('end', () => setImmediate(resolve));
    gunzip.on('error', reject);
  });
}

const started = performance.now();
await Promise.all(process.argv.slice(2).map(inflateAndHash));
console.log(Math.round(performance.now() - started));
