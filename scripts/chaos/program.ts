import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A built program (`dist/<name>.js`) that is killed and started again. */
export class Program {
  readonly #name: 'api' | 'worker';
  readonly #env: NodeJS.ProcessEnv;
  readonly #log: string;
  readonly #onWake: () => void;
  #child: ChildProcess | undefined;
  #isStopped = false;

  /**
   * @param log file that its output is appended to
   * @param onWake called when it is continued after SIGSTOP
   */
  constructor(name: 'api' | 'worker', env: NodeJS.ProcessEnv, log: string, onWake = () => {}) {
    this.#name = name;
    this.#env = env;
    this.#log = log;
    this.#onWake = onWake;
  }

  start(): void {
    const path = fileURLToPath(new URL(`../../dist/${this.#name}.js`, import.meta.url));
    const child = spawn(process.execPath, [path], {
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...this.#env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const log = createWriteStream(this.#log, { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    child.once('close', () => log.end());
    this.#child = child;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.isRunning) return;
    if (signal === 'SIGCONT' && this.#isStopped) this.#onWake();
    if (signal === 'SIGCONT' || signal === 'SIGSTOP') this.#isStopped = signal === 'SIGSTOP';
    this.#child?.kill(signal);
  }

  /** Sends the signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    // A stopped process receives other signals than SIGKILL only when it is continued.
    if (signal !== 'SIGKILL') this.signal('SIGCONT');
    await ended;
    this.#isStopped = false;
  }
}
