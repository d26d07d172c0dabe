/** Telling the decode thread costs a message; one a quarter of a megabyte keeps it busy all the same. */
const STEP_BYTES = 256 * 1024;

/** How many bytes a file under download has, for those who follow it. */
export class GrowingFile {
  readonly #size: number;
  readonly #listeners = new Set<(bytes: number) => void>();
  #bytes = 0;
  #told = 0;

  /** @param size bytes of the whole file */
  constructor(size: number) {
    this.#size = size;
  }

  /** The file has this many bytes now. */
  grown(bytes: number): void {
    this.#bytes = bytes;
    if (bytes < this.#size && bytes - this.#told < STEP_BYTES) return;
    this.#told = bytes;
    for (const listener of this.#listeners) listener(bytes);
  }

  /** All bytes are there. */
  get isWhole(): boolean {
    return this.#bytes >= this.#size;
  }

  /** Calls the listener with the bytes there are, now and when there are more. Returns the function that ends it. */
  follow(listener: (bytes: number) => void): () => void {
    this.#listeners.add(listener);
    listener(this.#bytes);
    return () => this.#listeners.delete(listener);
  }
}
