import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import * as z from 'zod';
import { processIdentity } from './process-identity.ts';

/** What a supervisor records about its stack, for `serve status`, for commands that wait for it, and for the next supervisor. */
const stackState = z.object({
  supervisor: processIdentity,
  /** True from the moment that every part answered; says nothing about later failures. */
  healthy: z.boolean(),
  startedAt: z.string(),
  redis: z.enum(['embedded', 'external']),
  children: z.array(z.object({ name: z.string(), ready: z.boolean(), process: processIdentity })),
});
export type StackState = z.output<typeof stackState>;

/** What the API records about itself: its host, process, URL (or the default address if another program had that) and start. */
const apiAddress = z.object({
  host: z.string().optional(),
  pid: z.int().optional(),
  listen: z.string().nullable(),
  taken: z.string().nullish(),
  startedAt: z.string().optional(),
});
export type ApiAddress = z.output<typeof apiAddress>;

/** Writes the states of a stack, one after the other; what cannot be written is logged. */
export class StackStateFile {
  readonly #path: string;
  readonly #log: (line: string) => void;
  #writing = Promise.resolve();

  constructor(path: string, log: (line: string) => void) {
    this.#path = path;
    this.#log = log;
  }

  write(state: StackState): void {
    this.#writing = this.#writing
      .then(() => writeStackState(this.#path, state))
      .catch((error: unknown) => this.#log(`cannot write ${this.#path}: ${String(error)}`));
  }

  /** Resolves when all that was given to `write` is written. */
  written(): Promise<void> {
    return this.#writing;
  }
}

async function writeStackState(path: string, state: StackState): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    await writeFile(temporary, JSON.stringify(state, null, 2), { mode: 0o600 });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** undefined if there is none that this version understands. */
export async function readStackState(path: string): Promise<StackState | undefined> {
  return stackState.safeParse(await readJson(path)).data;
}

/** Where the API of a local stack listens apart from its socket; `listen` is null if nowhere. */
export async function readApiAddress(path: string): Promise<ApiAddress> {
  return apiAddress.safeParse(await readJson(path)).data ?? { listen: null };
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined;
  }
}
