/** One way to do wrong, for the requests that match; what is left out stays right. */
export interface Fault {
  /** The request's path holds this text, or matches. */
  readonly path: string | RegExp;
  /** Requests that it strikes before it is used up. Default: all. */
  readonly times?: number;
  /** Matching requests that are let through first. Default 0. */
  readonly after?: number;
  /** Answer with this status and an error body. */
  readonly status?: number;
  /** The code and message of that error body. Default UNKNOWN. */
  readonly error?: { readonly code: string; readonly message: string };
  /** Send these bytes as the body, whatever was asked for. */
  readonly body?: string | Buffer;
  /** Header fields that are added, replaced, or (undefined) left out. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Give the right answer this status. */
  readonly as?: number;
  /** Redirect there; `{path}` stands for the path that was asked for. */
  readonly redirect?: string;
  /** Close the connection after so many bytes of the body, all of which arrive. */
  readonly cutAfter?: number;
  /** Reset the connection after so many bytes of the body, the last of which may be lost. */
  readonly resetAfter?: number;
  /** End the answer well after so many bytes, without a Content-Length. */
  readonly endAfter?: number;
  /** Send nothing more after so many bytes, and leave the connection open. */
  readonly stallAfter?: number;
  /** The answer waits for this. */
  readonly until?: Promise<void>;
  /** Wait so many milliseconds before the answer. */
  readonly delayMs?: number;
  /** Leave the request without any answer. */
  readonly hang?: boolean;
  /** Flip the bits of the byte at this offset of the blob. */
  readonly corruptAt?: number;
  /** Send these bytes behind the body, without a Content-Length. */
  readonly append?: Buffer;
  /** Send no faster than this. */
  readonly bytesPerSecond?: number;
  /** Send the whole with status 200 when a part is asked for. */
  readonly ignoreRange?: boolean;
  /** Send a part that starts so many bytes later than asked for, and say so. */
  readonly shiftRange?: number;
}

/** What will go wrong, and has. */
export class FaultPlan {
  #planned: { readonly fault: Fault; seen: number; struck: number }[] = [];

  add(fault: Fault): void {
    this.#planned.push({ fault, seen: 0, struck: 0 });
  }

  clear(): void {
    this.#planned = [];
  }

  /** The first planned fault that matches a request for this path strikes; one without any wrong where none does. */
  strike(path: string): Fault {
    for (const plan of this.#planned) {
      const { fault } = plan;
      if (typeof fault.path === 'string' ? !path.includes(fault.path) : !fault.path.test(path)) continue;
      plan.seen += 1;
      if (plan.seen <= (fault.after ?? 0) || plan.struck >= (fault.times ?? Number.POSITIVE_INFINITY)) continue;
      plan.struck += 1;
      return fault;
    }
    return { path };
  }
}
