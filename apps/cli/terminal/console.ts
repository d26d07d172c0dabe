import { printable } from './printable.ts';
import { widthOf } from './text-width.ts';

export interface Screen {
  /** Whether lines can be redrawn in place. */
  readonly terminal: boolean;
  /** In characters; only used on a terminal. */
  readonly columns: number;
  readonly rows: number;
}

/**
 * Where a command writes: what was asked for to `out`, everything else to `err`. Control characters are shown escaped in both,
 * so that no terminal obeys them.
 */
export interface Console {
  out(text: string): void;
  err(text: string): void;
  /**
   * Draws lines below everything that was written, in place of those drawn before; an empty list removes them. Each must be
   * narrower than the screen, and all together lower. Does nothing without a terminal.
   */
  live(lines: readonly string[]): void;
  screen(): Screen;
  /** Calls the listener when the screen has changed in size or content. Returns the function that ends this. */
  onScreenChange(listener: () => void): () => void;
  /** True when a person can be asked: stdin and stderr are a terminal. */
  readonly interactive: boolean;
}

/** A stream of the process, as far as a console needs it. */
export interface OutputStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

export interface ConsoleWorld {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly env: NodeJS.ProcessEnv;
  readonly interactive: boolean;
}

export function createConsole({ stdout, stderr, env, interactive }: ConsoleWorld): Console {
  const terminal = stdout.isTTY === true && env.TERM !== 'dumb' && !env.CI;
  let live: readonly string[] = [];
  const columns = () => stdout.columns || 80;
  const drawn = () => live.map((line) => `${line}\n`).join('');
  /** The cursor always waits at the start of the line below: wherever the program ends, nothing has to be restored. */
  const erased = () => eraseLines(live.map(widthOf), columns());
  return {
    out(text) {
      stdout.write(erased() + printable(text) + drawn());
    },
    err(text) {
      if (live.length > 0 && stderr.isTTY) stdout.write(erased());
      stderr.write(printable(text));
      if (live.length > 0 && stderr.isTTY) stdout.write(drawn());
    },
    live(lines) {
      if (!terminal || (lines.length === live.length && lines.every((line, index) => line === live[index]))) return;
      const before = erased();
      live = lines;
      stdout.write(before + drawn());
    },
    screen: () => ({ terminal, columns: columns(), rows: stdout.rows || 24 }),
    onScreenChange(listener) {
      // The shell has written below the lines while this process was stopped (Ctrl+Z): they stay where they are.
      const resumed = () => {
        live = [];
        listener();
      };
      stdout.on('resize', listener);
      process.on('SIGCONT', resumed);
      return () => {
        stdout.off('resize', listener);
        process.off('SIGCONT', resumed);
      };
    },
    interactive,
  };
}

/**
 * The escape sequence that erases lines of these widths, from the start of the line below them. Lines that were drawn on a
 * wider screen are wrapped by now.
 */
function eraseLines(widths: readonly number[], columns: number): string {
  const rows = widths.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / columns)), 0);
  return rows === 0 ? '' : `\r\x1b[${rows}A\x1b[J`;
}

export const processConsole: Console = createConsole({
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  interactive: process.stdin.isTTY === true && process.stderr.isTTY === true,
});

export function printJson(console: Console, value: unknown): void {
  console.out(`${JSON.stringify(value, null, 2)}\n`);
}
