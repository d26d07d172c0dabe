import { systemErrorCode } from './cli-error.ts';

/** Ends this process where what it was asked for cannot be written. */
export function endWhereOutputFails(): void {
  // Someone who reads only the first lines (`| head`) is no failure; a pull goes on at the server.
  process.stdout.on('error', (error) => {
    if (systemErrorCode(error) === 'EPIPE') process.exit(0);
    process.stderr.write(`error: the output cannot be written (${systemErrorCode(error) ?? String(error)})\n`);
    process.exit(1);
  });
  // Nobody can be told.
  process.stderr.on('error', () => {});
}

/** Ends this process. What could not be written is known a moment later. */
export function endProcess(exitCode: number): void {
  setImmediate(() => process.exit(exitCode));
}
