import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';

/** Bundles the worker of `hanging-worker.ts` into the folder; returns the file to run. */
export async function buildHangingWorker(directory: string): Promise<string> {
  const outfile = join(directory, 'hanging-worker.cjs');
  await build({
    entryPoints: [new URL('hanging-worker.ts', import.meta.url).pathname],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    logLevel: 'error',
  });
  return outfile;
}

/** A worker in a process of its own. */
export interface WorkerProcess {
  /** Resolves when it has begun a job. */
  readonly started: Promise<string>;
  readonly pid: number;
  /** Sends a signal that ends it, and waits for its end. */
  readonly kill: (signal: NodeJS.Signals) => Promise<void>;
}

export interface WorkerProcessOptions {
  readonly file: string;
  readonly redis: string;
  /** Ms. */
  readonly stalledInterval: number;
}

export function startWorkerProcess(options: WorkerProcessOptions): WorkerProcess {
  const child = spawn(process.execPath, [options.file], {
    env: {
      PATH: process.env.PATH,
      TEST_REDIS: options.redis,
      TEST_STALLED_INTERVAL: String(options.stalledInterval),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('the worker process did not start');
  return {
    pid,
    started: firstStart(child),
    kill: async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    },
  };
}

async function firstStart(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('the worker has no standard output');
  for await (const line of createInterface({ input: child.stdout })) {
    const id = /^started (\S+)$/.exec(line)?.[1];
    if (id !== undefined) return id;
  }
  throw new Error('the worker ended before it had a job');
}
