import { type Console, createConsole, type OutputStream } from '../terminal/console.ts';

/** A console that records what is written to `out`, to `err`, and to both, in order. With a size, which may change, it is a terminal. */
export function recordedConsole(size?: { columns: number; rows: number }) {
  const written = { out: '', err: '', both: '' };
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
      written.both += text;
    },
    on: () => {},
    off: () => {},
  });
  const console: Console = createConsole({
    stdout: stream('out'),
    stderr: stream('err'),
    env: {},
    interactive: size !== undefined,
  });
  return { console, out: () => written.out, err: () => written.err, both: () => written.both };
}
