import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** The system's resources that this process holds. */
export interface Footprint {
  readonly sockets: number;
  readonly files: number;
}

export async function measureFootprint(): Promise<Footprint> {
  const sockets = process.getActiveResourcesInfo().filter((name) => /TCP|TLS/.test(name)).length;
  return { sockets, files: (await readdir('/proc/self/fd')).length };
}

setFlagsFromString('--expose-gc');
const collectGarbage: unknown = runInNewContext('gc');

/** Bytes of heap and buffers in use after garbage collection. */
export async function memoryInUse(): Promise<number> {
  for (let round = 0; round < 5; round += 1) {
    if (typeof collectGarbage === 'function') collectGarbage();
    await sleep(20);
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
