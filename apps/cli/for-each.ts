import type { Console } from './terminal/console.ts';
import { explain } from './terminal/explanation.ts';

/** Runs the action for each name. Like docker and kubectl, prints a failure and goes on with the others. Resolves with the exit code. */
export async function forEach(
  names: readonly string[],
  console: Console,
  action: (name: string) => Promise<void>,
): Promise<number> {
  let exitCode = 0;
  for (const name of names) {
    try {
      await action(name);
    } catch (error) {
      exitCode = explain(error, console);
    }
  }
  return exitCode;
}
