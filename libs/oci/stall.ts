/** Nothing came for too long. */
export class StallError extends Error {
  readonly timeoutMs: number;

  constructor(timeoutMs: number) {
    super(`nothing came for ${timeoutMs / 1000} s`);
    this.name = 'StallError';
    this.timeoutMs = timeoutMs;
  }
}

/** Tells, once, when nothing has come for too long. With timers of its own: undici's tick only twice a second. */
export class StallWatch {
  readonly #onStall: (error: StallError) => void;
  #timer: NodeJS.Timeout | undefined;
  #hasHeard = false;
  #isHoldingBack = false;

  constructor(onStall: (error: StallError) => void) {
    this.#onStall = onStall;
  }

  /** Allows so many milliseconds of silence, from now and from each time that something is heard. */
  allow(timeoutMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#suspect(timeoutMs), timeoutMs);
  }

  heard(): void {
    this.#hasHeard = true;
    this.#timer?.refresh();
  }

  /** The sender is held back: its silence is our own doing, and no stall. */
  pause(): void {
    this.#isHoldingBack = true;
  }

  resume(): void {
    this.#isHoldingBack = false;
    this.#timer?.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** In a process that was busy itself, the bytes may be waiting to be read: looks once more before it is called a stall. */
  #suspect(timeoutMs: number): void {
    this.#hasHeard = false;
    setImmediate(() => {
      if (this.#isHoldingBack || this.#hasHeard) this.#timer?.refresh();
      else if (this.#timer !== undefined) this.#onStall(new StallError(timeoutMs));
    });
  }
}
