import { runCommandLine } from '../program.ts';
import { recordedConsole } from './recorded-console.ts';

export interface CommandSurroundings {
  /** All of it: nothing of this process's own environment gets through. */
  readonly env: NodeJS.ProcessEnv;
  /** Where relative paths start. One command at a time can have it, as a process has one. */
  readonly directory?: string;
  readonly version?: string;
}

/**
 * Runs a command line as `main.ts` does, but in this process, which costs a tenth of a process of its own. What is of the process
 * itself needs one: stdin, bytes on stdout, signals, failed writes, terminals, and programs that are started with its environment.
 */
export async function runHere(
  args: readonly string[],
  { env, directory, version = '0.1.0' }: CommandSurroundings,
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const { console, out, err } = recordedConsole();
  const before = process.cwd();
  if (directory !== undefined) process.chdir(directory);
  try {
    const exitCode = await runCommandLine(args, { env, console, version });
    return { exitCode, stdout: out(), stderr: err() };
  } finally {
    process.chdir(before);
  }
}
