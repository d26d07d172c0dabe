import type { Console } from './console.ts';
import { explain } from './explanation.ts';

/** Does the same for each that was named, as docker and kubectl do: failures are told, and the others still done. Resolves with the exit code. */
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
