import { fork } from 'node:child_process';
import { once } from 'node:events';

/** The built worker in a process of its own, under the supervision of this one. */
export interface WorkerProcess {
  /** Sends the signal and waits for the end. Resolves to the exit code, null when the signal itself ended it. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  /** Sends a signal that does not end it. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
  /** Closes the channel to the supervisor, as its death does, and waits for the end. */
  abandon(): Promise<number | null>;
  /** What it wrote so far, on stdout and stderr. */
  output(): string;
}

/** Resolves when it takes jobs. `log` is the descriptor of a file for its stderr, which is then not in `output`. */
export async function startWorkerProcess(
  env: NodeJS.ProcessEnv,
  log: 'pipe' | number = 'pipe',
): Promise<WorkerProcess> {
  const program = new URL('../../../../dist/worker.js', import.meta.url);
  // Without the options of jest.
  const child = fork(program, {
    execArgv: [],
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ['ignore', 'pipe', log, 'ipc'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const ended = once(child, 'exit').then(() => child.exitCode);
  const ready = once(child, 'message').then(() => true);
  if ((await Promise.race([ready, ended])) !== true) throw new Error(`the worker does not start:\n${output}`);
  return {
    end: (signal) => {
      child.kill(signal);
      return ended;
    },
    signal: (signal) => {
      child.kill(signal);
    },
    abandon: () => {
      child.disconnect();
      return ended;
    },
    output: () => output,
  };
}
