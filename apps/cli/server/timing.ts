import type { HttpTimes } from './request-clock.ts';

/** What `--timing` prints of a request. Times in ms. */
export interface RequestTiming extends HttpTimes {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** The body of the answer. */
  readonly transfer: number;
}

export function formatRequestTiming(timing: RequestTiming): string {
  const { method, path, status } = timing;
  const parts = (['dns', 'connect', 'tls', 'server', 'transfer'] as const).map((part) => `${part} ${ms(timing[part])}`);
  return `timing: ${method} ${path} ${status}  ${parts.join('  ')}\n`;
}

/** `start` is the time that Node spent before the command ran, `total` all of it. */
export function formatTotalTiming(start: number, total: number): string {
  return `timing: start ${ms(start)}  total ${ms(total)}\n`;
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
