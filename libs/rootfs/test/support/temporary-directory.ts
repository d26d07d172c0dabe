import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A temporary directory for as long as `use` runs. */
export async function withTemporaryDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-rootfs-'));
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}
