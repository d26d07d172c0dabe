/** Bytes between messages to the decode thread: few enough messages, and it stays busy all the same. */
const STEP_BYTES = 256 * 1024;

/** With so many unread bytes a reader does not have to wait for the download: what the decode thread takes at a time. */
const BACKLOG_BYTES = 1024 * 1024;

/** How many bytes of a file have been downloaded, and how many of these its reader has read. */
export class GrowingFile {
  readonly #size: number;
  readonly #listeners = new Set<(bytes: number) => void>();
  readonly #watchers = new Set<() => void>();
  #bytes = 0;
  #told = 0;
  #read = 0;

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
    this.#changed();
  }

  /** Its reader has read this many bytes. */
  readUpTo(bytes: number): void {
    this.#read = bytes;
    this.#changed();
  }

  /** All bytes are there. */
  get isWhole(): boolean {
    return this.#bytes >= this.#size;
  }

  /** The reader does not have to wait for the download. */
  get isAhead(): boolean {
    return this.isWhole || this.#bytes - this.#read >= BACKLOG_BYTES;
  }

  /** Calls the listener with the bytes there are, now and when there are more. Returns the function that ends it. */
  follow(listener: (bytes: number) => void): () => void {
    this.#listeners.add(listener);
    listener(this.#bytes);
    return () => this.#listeners.delete(listener);
  }

  /** Calls the watcher when the file has grown or was read. Returns the function that ends it. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  #changed(): void {
    for (const watcher of this.#watchers) watcher();
  }
}
