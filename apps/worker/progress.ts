import { formatBytes, type ProgressReporter, type ProgressUpdate } from '@bhatti/tasks';

/** A layer whose bytes are counted. */
export interface CountedLayer {
  readonly digest: string;
  /** Bytes of the blob. */
  readonly size: number;
}

/** The lines of a task, as the CLI prints them. */
export class PullProgress {
  readonly #reporter: ProgressReporter;
  #sizes: ReadonlyMap<string, number> = new Map();
  readonly #bytes = new Map<string, number>();

  constructor(reporter: ProgressReporter) {
    this.#reporter = reporter;
  }

  /** The image is looked for. */
  opening(update: ProgressUpdate): void {
    this.#reporter.report(update);
  }

  downloading(layers: readonly CountedLayer[]): void {
    this.#sizes = new Map(layers.map(({ digest, size }) => [digest, size]));
    this.#bytes.clear();
    this.#reportBytes();
  }

  /** So many compressed bytes of the layer are there. */
  layerBytes(digest: string, bytes: number): void {
    // What lies in the way of a download may be longer than the blob; the download clears it.
    const counted = Math.min(bytes, this.#sizes.get(digest) ?? 0);
    if (this.#bytes.get(digest) === counted) return;
    this.#bytes.set(digest, counted);
    this.#reportBytes();
  }

  flattening(): void {
    this.#reporter.report({ phase: 'flattening', line: 'flattening to ext4...' });
  }

  #reportBytes(): void {
    const downloadedBytes = sum(this.#bytes.values());
    const totalBytes = sum(this.#sizes.values());
    const line = `downloading layers (${formatBytes(downloadedBytes)} / ${formatBytes(totalBytes)})...`;
    const layers = [...this.#sizes].map(([digest, size]) => ({
      digest,
      downloadedBytes: this.#bytes.get(digest) ?? 0,
      totalBytes: size,
    }));
    this.#reporter.report({ phase: 'downloading', line, downloadedBytes, totalBytes, layers });
  }
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}
