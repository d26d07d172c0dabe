import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import xterm from '@xterm/headless';

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** A program in a terminal. Its output is drawn by xterm.js, the emulator that editors and browsers use. */
export interface PseudoTerminal {
  /** Everything that was written, with control sequences. */
  raw(): string;
  /** The text of the terminal and its scrollback, without trailing spaces and empty lines at the end. */
  text(): Promise<string>;
  /** The text of the screen alone. */
  screen(): Promise<string>;
  /** Resolves as soon as `text` matches; rejects when the program ends without it. */
  shows(wanted: RegExp): Promise<string>;
  /** Presses keys: `\x03` is Ctrl+C. */
  type(keys: string): void;
  resize(size: TerminalSize): Promise<void>;
  readonly child: ChildProcess;
  /** Resolves with the exit code. */
  readonly ended: Promise<number>;
}

/**
 * Runs a command in a terminal of its own, which `script` (util-linux) opens. `directory` is where the name of the terminal is
 * noted; the command runs there.
 */
export async function startInTerminal(
  command: readonly string[],
  { directory, env, columns, rows }: { directory: string; env: NodeJS.ProcessEnv } & TerminalSize,
): Promise<PseudoTerminal> {
  const noted = join(directory, '.terminal');
  const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const inside = `stty rows ${rows} cols ${columns}; tty > '${noted}.part'; mv '${noted}.part' '${noted}'; exec ${quoted}`;
  const child = spawn('script', ['--quiet', '--return', '--command', inside, '/dev/null'], {
    cwd: directory,
    env: { TERM: 'xterm-256color', SHELL: '/bin/sh', ...env },
    stdio: 'pipe',
  });
  const screen = new xterm.Terminal({ cols: columns, rows, scrollback: 1000, allowProposedApi: true });
  let raw = '';
  let drawing = Promise.resolve();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    raw += text;
    drawing = new Promise((resolve) => screen.write(text, resolve));
  });
  child.stdin.on('error', () => {});
  let hasEnded = false;
  const ended = once(child, 'close').then(([code]) => {
    hasEnded = true;
    return Number(code);
  });

  const terminal = await nameOf(noted, () => hasEnded);
  if (terminal === '') throw new Error(`the command did not start in a terminal: ${raw}`);
  const shownFrom = async (first: () => number) => {
    await drawing;
    const lines: string[] = [];
    for (let index = first(); index < screen.buffer.active.length; index += 1) {
      const line = screen.buffer.active.getLine(index);
      // Lines that the terminal wrapped are joined.
      if (line?.isWrapped) lines.push(`${lines.pop() ?? ''}${line.translateToString(true)}`);
      else lines.push(line?.translateToString(true) ?? '');
    }
    return lines.join('\n').trimEnd();
  };
  const text = () => shownFrom(() => 0);
  return {
    child,
    ended,
    raw: () => raw,
    text,
    screen: () => shownFrom(() => screen.buffer.active.baseY),
    type: (keys) => child.stdin.write(keys),
    async shows(wanted) {
      for (;;) {
        const before = raw.length;
        const shown = await text();
        if (wanted.test(shown)) return shown;
        // This may be the last output.
        if (raw.length > before) continue;
        if (await Promise.race([once(child.stdout, 'data').then(() => false), ended.then(() => true)])) {
          const last = await text();
          if (wanted.test(last)) return last;
          throw new Error(`ended without ${wanted}:\n${last}`);
        }
      }
    },
    async resize(size) {
      await drawing;
      screen.resize(size.columns, size.rows);
      const stty = spawn('stty', ['-F', terminal, 'rows', String(size.rows), 'cols', String(size.columns)]);
      await once(stty, 'close');
    },
  };
}

/** '' when the command has ended without noting it. */
async function nameOf(noted: string, hasEnded: () => boolean): Promise<string> {
  for (;;) {
    // Looked at first: a command may note its terminal and end between two looks.
    const isLast = hasEnded();
    const name = await readFile(noted, 'utf8').catch(() => '');
    if (name !== '') await unlink(noted);
    if (name !== '' || isLast) return name.trim();
    await sleep(5);
  }
}
