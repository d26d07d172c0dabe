import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { runCommandLine } from '../program.ts';
import { recordedConsole } from './recorded-console.ts';

const manifest = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')));

export interface CommandSurroundings {
  /** All of it: nothing of this process's own environment gets through. */
  readonly env: NodeJS.ProcessEnv;
  /** Where relative paths start. One command at a time can have it, as a process has one. */
  readonly directory?: string;
  /** That of the project, unless it is given. */
  readonly version?: string;
  /** That of the terminal, if there is one. */
  readonly size?: { columns: number; rows: number };
}

/**
 * Runs a command line as `main.ts` does, but in this process, which costs a tenth of a process of its own. What is of the process
 * itself needs one: stdin, bytes on stdout, signals, failed writes, terminals, and programs that are started with its environment.
 */
export async function runHere(
  args: readonly string[],
  surroundings: CommandSurroundings,
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const { exitCode, out, err } = await recorded(args, surroundings);
  return { exitCode, stdout: out(), stderr: err() };
}

/** The same, where stdout and stderr go to one place. */
export async function runHereTogether(
  args: readonly string[],
  surroundings: CommandSurroundings,
): Promise<{ exitCode: number; text: string }> {
  const { exitCode, both } = await recorded(args, surroundings);
  return { exitCode, text: both() };
}

async function recorded(
  args: readonly string[],
  { env, directory, version = manifest.version, size }: CommandSurroundings,
) {
  const { console, ...written } = recordedConsole(size);
  const before = process.cwd();
  if (directory !== undefined) process.chdir(directory);
  try {
    return { exitCode: await runCommandLine(args, { env, console, version }), ...written };
  } finally {
    process.chdir(before);
  }
}
