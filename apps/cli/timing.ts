/** What `--timing` tells: one line a request, then the whole. Times in ms. */
export interface RequestTiming {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** Until the connection stood; 0 when one was open already. */
  readonly connect: number;
  /** From then until the headers of the answer. */
  readonly server: number;
  /** The body of the answer. */
  readonly transfer: number;
}

export function formatRequestTiming(timing: RequestTiming): string {
  const { method, path, status, connect, server, transfer } = timing;
  return `timing: ${method} ${path} ${status}  connect ${ms(connect)}  server ${ms(server)}  transfer ${ms(transfer)}\n`;
}

/** `start` is the time that Node spent before the command ran, `total` all of it. */
export function formatTotalTiming(start: number, total: number): string {
  return `timing: start ${ms(start)}  total ${ms(total)}\n`;
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
