import { systemErrorCode } from '../cli-error.ts';

/** Ends this process when it cannot write its output. */
export function endWhereOutputFails(): void {
  // A reader that wants only the first lines (`| head`) is no failure; a pull goes on at the server.
  process.stdout.on('error', (error) => {
    if (systemErrorCode(error) === 'EPIPE') process.exit(0);
    process.stderr.write(`error: the output cannot be written (${systemErrorCode(error) ?? String(error)})\n`);
    process.exit(1);
  });
  // There is nowhere to report this.
  process.stderr.on('error', () => {});
}

/** Ends this process, a moment later, so that a failed write is noticed first. */
export function endProcess(exitCode: number): void {
  setImmediate(() => process.exit(exitCode));
}
