import { text } from 'node:stream/consumers';
import { CliError } from './cli-error.ts';
import { askLine } from './terminal/prompt.ts';

/**
 * The registry credentials (`user:token`) to send along: `--auth`, or else `BHATTI_REGISTRY_AUTH`. For `--auth -`, which keeps
 * them out of the process list, reads stdin, or asks on a terminal without showing them. Rejects with CliError
 * `invalid_request` if they are empty.
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
