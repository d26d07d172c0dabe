/**
 * `floor.ts BLOB...`: the least that a pull must do, in one Node process: inflate every layer, hash it compressed and
 * not. Prints the milliseconds it took.
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
    // Put off by a turn, so that a chunk is hashed here while the next is inflated on libuv's pool.
    gunzip.on('data', (chunk: Buffer) => setImmediate(() => tar.update(chunk)));
    gunzip.on('end', () => setImmediate(resolve));
    gunzip.on('error', reject);
  });
}

const started = performance.now();
await Promise.all(process.argv.slice(2).map(inflateAndHash));
console.log(Math.round(performance.now() - started));
