import { text } from 'node:stream/consumers';
import { CliError } from './cli-error.ts';
import { askLine } from './prompt.ts';

/**
 * The registry credentials (`user:token`) to send along: `--auth`, from stdin for `--auth -` (so that they never stand
 * in the process list), else `BHATTI_REGISTRY_AUTH`. A terminal is asked for them, and does not show them. Throws CliError
 * `invalid_request` for empty ones.
 */
export async function registryAuth(
  flag: string | undefined,
  env: NodeJS.ProcessEnv,
  { interactive }: { readonly interactive: boolean },
): Promise<string | undefined> {
  const auth = flag === '-' ? (await typedAuth(interactive)).trim() : (flag ?? (env.BHATTI_REGISTRY_AUTH || undefined));
  if (auth === '') throw new CliError('invalid_request', 'the registry credentials are empty; --auth takes user:token');
  return auth;
}

function typedAuth(interactive: boolean): Promise<string> {
  if (!interactive) return text(process.stdin);
  return askLine('Credentials for the registry, user:token (not shown): ', { secret: true });
}
