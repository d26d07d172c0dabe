import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import * as z from 'zod';
import { deathsInARow, restartDelay } from './restart-policy.ts';

export interface ChildSpecification {
  /** As it appears in the log and in `serve status`: `api`, `worker 1`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Whether it is a Node program and gets an IPC channel: it exits when that closes, and so does not outlive us. */
  readonly ipc: boolean;
  /** How to know that it is ready: by `{type: 'ready'}` over IPC, or by a function that asks it until the signal aborts. */
  readonly readiness: 'message' | ((signal: AbortSignal, pid: number | undefined) => Promise<void>);
  /** How long it may take to stop before it is killed, ms. */
  readonly stopTimeout: number;
}

export interface ChildEvents {
  /** A process was started, got ready or ended: what `pid` and `ready` say has changed. */
  onChange(): void;
  /** It ended on its own; `deaths` in a row, this one included. It is started again after `pause` ms. */
  onDeath(death: { outcome: string; deaths: number; pause: number }): void;
}

export interface SupervisedChild {
  readonly name: string;
  /** undefined while no process runs. */
  readonly pid: number | undefined;
  readonly ready: boolean;
  /** Asks the process to end, kills it when it does not, and does not start it again. */
  stop(): Promise<void>;
  /** Kills the process at once, and does not start it again. */
  kill(): void;
}

const readyMessage = z.object({ type: z.literal('ready') });

/** Starts a child process, and restarts it with growing pauses whenever it ends before `stop` is called. */
export function superviseChild(specification: ChildSpecification, events: ChildEvents): SupervisedChild {
  return new RestartedChild(specification, events);
}

/** One life of the child. */
interface Run {
  readonly process: ChildProcess;
  readonly startedAt: number;
  /** Aborted when the process has ended. */
  readonly over: AbortController;
}

class RestartedChild implements SupervisedChild {
  readonly #specification: ChildSpecification;
  readonly #events: ChildEvents;
  readonly #stopping = new AbortController();
  /** undefined while no process runs. */
  #run: Run | undefined;
  #ready = false;
  #deaths = 0;

  constructor(specification: ChildSpecification, events: ChildEvents) {
    this.#specification = specification;
    this.#events = events;
    this.#start();
  }

  get name(): string {
    return this.#specification.name;
  }

  get pid(): number | undefined {
    return this.#run?.process.pid;
  }

  get ready(): boolean {
    return this.#ready;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    if (this.#run === undefined) return;
    const { process, over } = this.#run;
    const ended = once(over.signal, 'abort');
    process.kill('SIGTERM');
    const timer = setTimeout(() => process.kill('SIGKILL'), this.#specification.stopTimeout);
    await ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.#stopping.abort();
    this.#run?.process.kill('SIGKILL');
  }

  #start(): void {
    const startedAt = performance.now();
    let process: ChildProcess;
    try {
      process = spawnChild(this.#specification);
    } catch (error) {
      // Node throws some failures (no memory for a process), and emits others as an event.
      this.#onDeath(startedAt, error instanceof Error ? error.message : String(error));
      return;
    }
    const run = { process, startedAt, over: new AbortController() };
    this.#run = run;
    run.process.once('error', (error) => this.#onEnd(run, error.message));
    run.process.once('exit', (code, signal) => this.#onEnd(run, signal === null ? `exit code ${code}` : signal));
    untilReady(run, this.#specification.readiness).then(
      () => this.#onReady(run),
      () => undefined,
    );
    this.#events.onChange();
  }

  #onReady({ over }: Run): void {
    if (over.signal.aborted) return;
    this.#ready = true;
    this.#events.onChange();
  }

  #onEnd({ over, startedAt }: Run, outcome: string): void {
    if (over.signal.aborted) return;
    over.abort();
    this.#run = undefined;
    this.#ready = false;
    this.#events.onChange();
    if (!this.#stopping.signal.aborted) this.#onDeath(startedAt, outcome);
  }

  #onDeath(startedAt: number, outcome: string): void {
    this.#deaths = deathsInARow(this.#deaths, performance.now() - startedAt);
    const pause = restartDelay(this.#deaths);
    this.#events.onDeath({ outcome, deaths: this.#deaths, pause });
    delay(pause, undefined, { signal: this.#stopping.signal }).then(
      () => this.#start(),
      () => undefined,
    );
  }
}

function spawnChild({ command, args, env, ipc }: ChildSpecification): ChildProcess {
  return spawn(command, args, {
    env,
    // A process group of its own, so that Ctrl+C in the terminal reaches only the supervisor, which stops in order.
    detached: true,
    // The stdout of children goes to the log as well.
    stdio: ['ignore', 2, 2, ipc ? 'ipc' : 'ignore'],
  });
}

/** Resolves when the process shows that it is ready. */
function untilReady({ process, over }: Run, readiness: ChildSpecification['readiness']): Promise<void> {
  if (readiness !== 'message') return readiness(over.signal, process.pid);
  return new Promise((resolve) => {
    process.on('message', (message) => {
      if (readyMessage.safeParse(message).success) resolve();
    });
  });
}
