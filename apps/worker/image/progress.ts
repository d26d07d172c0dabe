import { formatBytes, type LayerProgress, type ProgressReporter, type ProgressUpdate } from '@bhatti/tasks';

/** A layer whose bytes are counted. */
export interface CountedLayer {
  readonly digest: string;
  /** Bytes of the blob. */
  readonly size: number;
  /** Bytes of the blob that are there from the start. */
  readonly present: number;
}

/**
 * With more layers, only the sums are reported. Redis keeps the last 10,000 updates of all tasks, each in full (BullMQ's
 * stream of events): an image of 12,000 layers took 300 MB of it in half a minute. Docker's images have 127 at most.
 */
const MOST_LAYERS_TOLD = 128;

/** Reports the progress of a task, in the lines that the CLI prints. */
export class PullProgress {
  readonly #reporter: ProgressReporter;
  #sizes: ReadonlyMap<string, number> = new Map();
  readonly #bytes = new Map<string, number>();

  constructor(reporter: ProgressReporter) {
    this.#reporter = reporter;
  }

  /** The image is being resolved. */
  opening(update: ProgressUpdate): void {
    this.#reporter.report(update);
  }

  /** To be called once, before bytes of layers arrive. */
  downloading(layers: readonly CountedLayer[]): void {
    this.#sizes = new Map(layers.map(({ digest, size }) => [digest, size]));
    for (const { digest, present } of layers) this.#count(digest, present);
    this.#reportBytes();
  }

  /** `bytes` of the compressed layer are there now. */
  layerBytes(digest: string, bytes: number): void {
    if (this.#count(digest, bytes)) this.#reportBytes();
  }

  flattening(): void {
    this.#reporter.report({ phase: 'flattening', line: 'flattening to ext4...' });
  }

  /** Returns whether the count has changed. */
  #count(digest: string, bytes: number): boolean {
    // A stale partial file may be longer than the blob; the download removes it.
    const counted = Math.min(bytes, this.#sizes.get(digest) ?? 0);
    if (this.#bytes.get(digest) === counted) return false;
    this.#bytes.set(digest, counted);
    return true;
  }

  #reportBytes(): void {
    const downloadedBytes = sum(this.#bytes.values());
    const totalBytes = sum(this.#sizes.values());
    const line = `downloading layers (${formatBytes(downloadedBytes)} / ${formatBytes(totalBytes)})...`;
    this.#reporter.report({ phase: 'downloading', line, downloadedBytes, totalBytes, layers: this.#layers() });
  }

  #layers(): LayerProgress[] | undefined {
    if (this.#sizes.size > MOST_LAYERS_TOLD) return undefined;
    return [...this.#sizes].map(([digest, size]) => ({
      digest,
      downloadedBytes: this.#bytes.get(digest) ?? 0,
      totalBytes: size,
    }));
  }
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}
