import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoggedRequest, PushedImage } from '../../test/support/registry.ts';

/** Ms between looks at the data directory. */
const LOOK_INTERVAL = 100;
/** Ms for which bytes must have been on the disk for a request to count them: whoever made it had looked just before. */
const SETTLED = 500;

/** Why bytes that were on the disk may be fetched again. */
export type FreedBy = 'full disk' | 'cancelled' | 'pruned';

/** Bytes of layers that the registry sent more than once. */
export interface BytesTwice {
  /** They never reached the disk: they were in flight when a process or a connection died. */
  readonly inFlight: number;
  readonly fullDisk: number;
  readonly cancelled: number;
  readonly pruned: number;
  /** A worker that was stopped had looked for them before that. */
  readonly woken: number;
  /** They were on the disk, and nothing should have freed them. */
  readonly withoutReason: number;
}

/** Ms within which a program that is continued does what it was about to do when it was stopped. */
const WAKING = 5000;

interface Sample {
  readonly at: number;
  readonly bytes: number;
}

interface Freed {
  readonly digests: ReadonlySet<string> | 'any';
  readonly by: FreedBy;
  readonly from: number;
  readonly to: number;
}

/** Watches from outside how much of each layer is on the disk, to find out what was fetched again, and why. */
export class FetchedBytes {
  readonly #directory: string;
  readonly #sizes = new Map<string, number>();
  readonly #diffIds = new Map<string, string>();
  readonly #samples = new Map<string, Sample[]>();
  readonly #freed: Freed[] = [];
  readonly #wakes: number[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** @param directory the data directory */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Starts to look for the layers of these images. */
  watch(images: readonly PushedImage[]): void {
    for (const image of images) {
      for (const [i, { digest, size }] of image.layers.entries()) {
        this.#sizes.set(digest, size);
        this.#diffIds.set(digest, image.diffIds[i] ?? '');
      }
    }
    this.#timer = setInterval(() => void this.#look(), LOOK_INTERVAL);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Layers may have been removed in this time (ms since the epoch): those of an image, or any. */
  freed(by: FreedBy, image: PushedImage | 'any', from: number, to: number): void {
    const digests = image === 'any' ? image : new Set(image.layers.map(({ digest }) => digest));
    this.#freed.push({ by, from, to, digests });
  }

  /** A stopped program continues now: what it asks for may have reached the disk meanwhile. */
  woke(): void {
    this.#wakes.push(Date.now());
  }

  count(requests: readonly LoggedRequest[]): BytesTwice {
    const twice = { inFlight: 0, fullDisk: 0, cancelled: 0, pruned: 0, woken: 0, withoutReason: 0 };
    const reached = new Map<string, { bytes: number; at: number }>();
    for (const { path, range, sentBytes, at } of requests) {
      const digest = path.slice(path.lastIndexOf('/') + 1);
      if (!this.#sizes.has(digest) || sentBytes === 0) continue;
      const start = Number(/^bytes=([0-9]+)-$/.exec(range ?? '')?.[1] ?? 0);
      const before = reached.get(digest);
      if (before !== undefined) {
        const again = Math.max(0, Math.min(before.bytes, start + sentBytes) - start);
        // At most `again`: an import may have decoded the layer from its archive while it was fetched.
        const stored = Math.max(0, Math.min(again, this.#stored(digest, before.at, at) - start));
        twice.inFlight += again - stored;
        const by = this.#freedBy(digest, before.at, at);
        if (by === 'full disk') twice.fullDisk += stored;
        else if (by === 'cancelled') twice.cancelled += stored;
        else if (by === 'pruned') twice.pruned += stored;
        else if (this.#wakes.some((wake) => at >= wake && at < wake + WAKING)) twice.woken += stored;
        else twice.withoutReason += stored;
      }
      reached.set(digest, { bytes: Math.max(before?.bytes ?? 0, start + sentBytes), at });
    }
    return twice;
  }

  async #look(): Promise<void> {
    const at = Date.now();
    const names = async (folder: string) => new Set(await readdir(join(this.#directory, folder)).catch(() => []));
    const [partials, layers] = await Promise.all([names('partial/sha256'), names('layers/sha256')]);
    for (const [digest, diffId] of this.#diffIds) {
      const hex = digest.slice(7);
      let bytes = layers.has(diffId.slice(7)) ? (this.#sizes.get(digest) ?? 0) : 0;
      if (bytes === 0 && partials.has(hex)) {
        bytes = (await stat(join(this.#directory, 'partial/sha256', hex)).catch(() => undefined))?.size ?? 0;
      }
      const samples = this.#samples.get(digest) ?? [];
      if (samples.at(-1)?.bytes !== bytes) this.#samples.set(digest, [...samples, { at, bytes }]);
    }
  }

  /** The most bytes that were on the disk between two requests for the layer, early enough for the second to know. */
  #stored(digest: string, from: number, to: number): number {
    const seen = (this.#samples.get(digest) ?? []).filter(({ at }) => at >= from && at < to - SETTLED);
    return Math.max(0, ...seen.map(({ bytes }) => bytes));
  }

  #freedBy(digest: string, from: number, to: number): FreedBy | undefined {
    const mayHave = (freed: Freed) =>
      freed.to >= from && freed.from <= to && (freed.digests === 'any' || freed.digests.has(digest));
    return this.#freed.find(mayHave)?.by;
  }
}
