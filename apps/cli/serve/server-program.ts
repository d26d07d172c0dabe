import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';

/** Where the programs of the server are: beside the CLI. */
export const programDirectory = dirname(fileURLToPath(import.meta.url));

/** Throws CliError `server_not_included` if the CLI came without a server, as in the package. */
export function requireServerProgram(): void {
  if (existsSync(join(programDirectory, 'api.js'))) return;
  throw new CliError('server_not_included', 'this is the command line alone, without a server to start', {
    hint:
      'Name the server to use with "bhatti setup", or with BHATTI_URL and BHATTI_TOKEN. A server runs from a checkout of the project ' +
      '(./bhatti serve) or in containers (docker compose up).',
  });
}
