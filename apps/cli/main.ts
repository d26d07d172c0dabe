/** The entry point of `bhatti`. Exit codes: 0 done, 1 error, 130 detached by Ctrl+C. */

import { runCommandLine } from './program.ts';
import { processConsole } from './terminal/console.ts';
import { endProcess, endWhereOutputFails } from './terminal/output-failure.ts';

// Replaces the command line in the process list, which may hold a token.
process.title = 'bhatti';

endWhereOutputFails();
endProcess(
  await runCommandLine(process.argv.slice(2), {
    env: process.env,
    console: processConsole,
    version: process.env.BHATTI_VERSION ?? 'unknown',
  }),
);
