import { formatBytes } from '@bhatti/tasks';
import type { Console } from '../terminal/console.ts';
import { rateOf, type SeenBytes, seeBytes } from '../terminal/download-rate.ts';
import { type LiveStep, layoutStep } from '../terminal/progress-layout.ts';

/** How often what is drawn is looked at again, ms. */
const REDRAW_INTERVAL = 200;
const FILE = 'file';

/** The progress of an export, drawn in place on a terminal; not shown elsewhere. */
export class ExportDisplay {
  readonly #console: Console;
  readonly #timer: NodeJS.Timeout | undefined;
  #bytes = 0;
  #size: number | undefined;
  #phase: 'asking' | 'receiving' | 'checking' = 'asking';
  #seen: SeenBytes = new Map();

  constructor(console: Console) {
    this.#console = console;
    if (console.screen().terminal) this.#timer = setInterval(() => this.#draw(), REDRAW_INTERVAL);
  }

  /** `bytes` of `size` have arrived; `size` is undefined while unknown. */
  receive(bytes: number, size: number | undefined): void {
    this.#phase = 'receiving';
    this.#bytes = bytes;
    this.#size = size;
  }

  /** All bytes have arrived, and are now synced and compared with the digest. */
  check(): void {
    this.#phase = 'checking';
  }

  /** Removes what was drawn. */
  close(): void {
    clearInterval(this.#timer);
    this.#console.live([]);
  }

  #draw(): void {
    if (this.#phase !== 'asking') this.#console.live(layoutStep(this.#step(Date.now()), this.#console.screen()));
  }

  #step(now: number): LiveStep {
    if (this.#phase === 'checking') return { line: 'checking...', layers: [] };
    const [bytes, size] = [this.#bytes, this.#size];
    if (size === undefined) return { line: `downloading (${formatBytes(bytes)})...`, layers: [] };
    this.#seen = seeBytes(this.#seen, new Map([[FILE, bytes]]), now);
    return {
      line: `downloading (${formatBytes(bytes)} / ${formatBytes(size)})...`,
      total: { downloadedBytes: bytes, totalBytes: size, rate: rateOf(this.#seen, FILE, now) },
      layers: [],
    };
  }
}
