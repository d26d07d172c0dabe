/** Nothing was received for too long. */
export class StallError extends Error {
  readonly timeoutMs: number;

  constructor(timeoutMs: number) {
    super(`nothing came for ${timeoutMs / 1000} s`);
    this.name = 'StallError';
    this.timeoutMs = timeoutMs;
  }
}

/** Reports, once, when nothing has been received for too long. It has its own timers, since undici's tick only twice a second. */
export class StallWatch {
  readonly #onStall: (error: StallError) => void;
  #timer: NodeJS.Timeout | undefined;
  #hasHeard = false;
  #isHoldingBack = false;

  constructor(onStall: (error: StallError) => void) {
    this.#onStall = onStall;
  }

  /** Starts the watch: `timeoutMs` of silence is a stall, counted from now and from each time that something is heard. */
  allow(timeoutMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#suspect(timeoutMs), timeoutMs);
  }

  /** Something was received. */
  heard(): void {
    this.#hasHeard = true;
    this.#timer?.refresh();
  }

  /** The sender is paused: its silence is our doing, and not a stall. */
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

  /** If this process was busy, the bytes may be waiting to be read: lets the event loop read once more before reporting a stall. */
  #suspect(timeoutMs: number): void {
    this.#hasHeard = false;
    setImmediate(() => {
      if (this.#isHoldingBack || this.#hasHeard) this.#timer?.refresh();
      else if (this.#timer !== undefined) this.#onStall(new StallError(timeoutMs));
    });
  }
}
