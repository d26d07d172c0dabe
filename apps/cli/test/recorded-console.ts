import { type Console, createConsole, type OutputStream } from '../console.ts';

/** A console that nobody sees: `out` and `err` are what was written so far. A terminal where it has a size, which may change. */
export function recordedConsole(size?: { columns: number; rows: number }) {
  const written = { out: '', err: '' };
  const stream = (name: 'out' | 'err'): OutputStream => ({
    isTTY: size !== undefined,
    get columns() {
      return size?.columns;
    },
    get rows() {
      return size?.rows;
    },
    write: (text) => {
      written[name] += text;
    },
    on: () => {},
    off: () => {},
  });
  const console: Console = createConsole({ stdout: stream('out'), stderr: stream('err'), env: {}, interactive: false });
  return { console, out: () => written.out, err: () => written.err };
}
