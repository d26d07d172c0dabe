import { text } from 'node:stream/consumers';
import { CliError } from './cli-error.ts';

/**
 * The registry credentials (`user:token`) to send along: `--auth`, from stdin for `--auth -` (so that they never stand
 * in the process list), else `BHATTI_REGISTRY_AUTH`. Throws CliError `invalid_request` for empty ones.
 */
export async function registryAuth(
  flag: string | undefined,
  env: NodeJS.ProcessEnv,
  stdin: NodeJS.ReadableStream,
): Promise<string | undefined> {
  const auth = flag === '-' ? (await text(stdin)).trim() : (flag ?? (env.BHATTI_REGISTRY_AUTH || undefined));
  if (auth === '') throw new CliError('invalid_request', 'the registry credentials are empty; --auth takes user:token');
  return auth;
}
