import type { Screen } from './transcript.ts';

/** Where a command writes: what was asked for to `out`, everything about it to `err`. */
export interface Console {
  out(text: string): void;
  err(text: string): void;
  screen(): Screen;
  /** True when a person can be asked: stdin and stderr are a terminal. */
  readonly interactive: boolean;
}

export const processConsole: Console = {
  out: (text) => {
    process.stdout.write(text);
  },
  err: (text) => {
    process.stderr.write(text);
  },
  screen: () => ({
    terminal: process.stdout.isTTY === true && process.env.TERM !== 'dumb',
    columns: process.stdout.columns || 80,
  }),
  interactive: process.stdin.isTTY === true && process.stderr.isTTY === true,
};

export function printJson(console: Console, value: unknown): void {
  console.out(`${JSON.stringify(value, null, 2)}\n`);
}
