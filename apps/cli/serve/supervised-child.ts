import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import * as z from 'zod';
import { deathsInARow, restartDelay } from './restart-policy.ts';

export interface ChildSpecification {
  /** As it appears in the log and in `serve status`: `api`, `worker 1`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Whether it is a Node program, which is given an IPC channel: it ends when that closes, so that none outlives us. */
  readonly ipc: boolean;
  /** How it shows that it is ready: by `{type: 'ready'}` over IPC, or by being asked until the signal is aborted. */
  readonly readiness: 'message' | ((signal: AbortSignal) => Promise<void>);
  /** How long it may take to stop before it is killed, ms. */
  readonly stopTimeout: number;
}

export interface ChildEvents {
  /** A process was started, got ready or ended: what `pid` and `ready` say has changed. */
  onChange(): void;
  /** It ended on its own; `deaths` in a row, this one included. It is started again after `pause` ms. */
  onDeath(death: { outcome: string; deaths: number; pause: number; wasReady: boolean }): void;
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

/** Starts a child process and starts it again, with growing pauses, whenever it ends before `stop` is called. */
export function superviseChild(specification: ChildSpecification, events: ChildEvents): SupervisedChild {
  let running: { process: ChildProcess; ended: Promise<void> } | undefined;
  let ready = false;
  let deaths = 0;
  const stopping = new AbortController();

  function start(): void {
    const startedAt = performance.now();
    const process = spawn(specification.command, specification.args, {
      env: specification.env,
      // A process group of its own, so that Ctrl+C in the terminal reaches only the supervisor, which stops in order.
      detached: true,
      // What children print on stdout is log as well.
      stdio: ['ignore', 2, 2, specification.ipc ? 'ipc' : 'ignore'],
    });
    const over = new AbortController();
    const ended = new Promise<void>((resolve) =>
      over.signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    running = { process, ended };
    const onEnd = (outcome: string) => {
      if (over.signal.aborted) return;
      over.abort();
      const wasReady = ready;
      running = undefined;
      ready = false;
      events.onChange();
      if (!stopping.signal.aborted) {
        deaths = deathsInARow(deaths, performance.now() - startedAt);
        const pause = restartDelay(deaths);
        events.onDeath({ outcome, deaths, pause, wasReady });
        delay(pause, undefined, { signal: stopping.signal }).then(start, () => undefined);
      }
    };
    const onReady = () => {
      if (over.signal.aborted) return;
      ready = true;
      events.onChange();
    };
    process.once('error', (error) => onEnd(error.message));
    process.once('exit', (code, signal) => onEnd(signal === null ? `exit code ${code}` : signal));
    if (specification.readiness === 'message') {
      process.on('message', (message) => {
        if (readyMessage.safeParse(message).success) onReady();
      });
    } else {
      specification.readiness(over.signal).then(onReady, () => undefined);
    }
    events.onChange();
  }

  start();
  return {
    name: specification.name,
    get pid() {
      return running?.process.pid;
    },
    get ready() {
      return ready;
    },
    async stop() {
      stopping.abort();
      if (running === undefined) return;
      const { process, ended } = running;
      process.kill('SIGTERM');
      const timer = setTimeout(() => process.kill('SIGKILL'), specification.stopTimeout);
      await ended;
      clearTimeout(timer);
    },
    kill() {
      stopping.abort();
      running?.process.kill('SIGKILL');
    },
  };
}
