import { execFileSync, spawnSync } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A tmpfs that can be filled if this user may mount one (root), else an ordinary folder that is never filled. */
export class SmallDisk {
  readonly path: string;
  readonly #bytes: number;
  isMounted = false;

  constructor(path: string, bytes: number) {
    this.path = path;
    this.#bytes = bytes;
  }

  async mount(): Promise<void> {
    if (process.getuid?.() !== 0) return;
    execFileSync('mkdir', ['-p', this.path]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${this.#bytes}`, 'tmpfs', this.path]);
    this.isMounted = true;
  }

  /** Keeps the disk full until `meanwhile` has ended. */
  async fill(meanwhile: () => Promise<unknown>): Promise<void> {
    const ballast = join(this.path, 'ballast');
    try {
      await writeFile(ballast, '');
      while (!this.#take(ballast));
      await meanwhile();
    } finally {
      await rm(ballast, { force: true });
    }
  }

  /** False if others took the free space first. */
  #take(ballast: string): boolean {
    const free = execFileSync('df', ['--output=avail', '-B1', this.path], { encoding: 'utf8' }).split('\n')[1];
    const length = String(Math.max(4096, Number(free) - 65_536));
    return spawnSync('fallocate', ['-l', length, ballast]).status === 0;
  }

  unmount(): void {
    if (this.isMounted) execFileSync('umount', ['-l', this.path]);
  }
}
