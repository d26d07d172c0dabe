/** The entry of `bhatti`: the process around a command line. Exit codes: 0 done, 1 error, 130 detached by Ctrl+C. */
import { systemErrorCode } from './cli-error.ts';
import { processConsole } from './console.ts';
import { explain } from './explanation.ts';
import { runCommandLine } from './program.ts';

// Replaces the command line in the process list, which may hold a token.
process.title = 'bhatti';

// Someone who reads only the first lines (`| head`) is no failure; a pull goes on at the server.
process.stdout.on('error', (error) => {
  if (systemErrorCode(error) === 'EPIPE') process.exit(0);
  processConsole.err(`error: the output cannot be written (${systemErrorCode(error) ?? String(error)})\n`);
  process.exit(1);
});
// Nobody can be told.
process.stderr.on('error', () => {});

const exitCode = await main();
// What could not be written is known a moment later.
setImmediate(() => process.exit(exitCode));

async function main(): Promise<number> {
  try {
    return await runCommandLine(process.argv.slice(2), {
      env: process.env,
      console: processConsole,
      version: process.env.BHATTI_VERSION ?? 'unknown',
    });
  } catch (error) {
    return explain(error, processConsole);
  }
}
