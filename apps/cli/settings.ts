import { resolveDataDirectory } from '@bhatti/store';
import * as z from 'zod';
import { CliError } from './cli-error.ts';

/** The global flags as typed; undefined where not given. */
export const globalFlags = z.object({
  url: z.string().optional(),
  token: z.string().optional(),
  dataDir: z.string().optional(),
  json: z.boolean().optional(),
  timing: z.boolean().optional(),
});
type GlobalFlags = z.output<typeof globalFlags>;

/** What a config file may say. */
export interface ConfigFile {
  readonly url?: string;
  readonly token?: string;
  readonly data_dir?: string;
}

export interface Settings {
  /** The server to talk to; undefined means: find or start the local one. */
  readonly url: URL | undefined;
  readonly token: string | undefined;
  /** Absolute path. */
  readonly dataDirectory: string;
  /** True when the user named the data directory, so no stack elsewhere will do. */
  readonly dataDirectoryGiven: boolean;
  readonly json: boolean;
  readonly timing: boolean;
  /** Where to look for proxies when connecting to a server. */
  readonly environment: NodeJS.ProcessEnv;
}

/**
 * The effective settings. For each one: flag, then config file, then environment, then default. A flag for the data directory
 * means the server there, whatever URL is configured. Empty values count as not given. Throws CliError `invalid_request` for an
 * invalid URL or token.
 */
export function resolveSettings(flags: GlobalFlags, file: ConfigFile, env: NodeJS.ProcessEnv): Settings {
  const dataDirectory = flags.dataDir || file.data_dir;
  const configuredUrl = flags.dataDir ? undefined : file.url || env.BHATTI_URL;
  return {
    url: serverUrl(flags.url || configuredUrl),
    token: usableToken(flags.token || file.token || env.BHATTI_TOKEN),
    dataDirectory: resolveDataDirectory({ flag: dataDirectory, env }),
    dataDirectoryGiven: Boolean(dataDirectory || env.BHATTI_DATA_DIR),
    json: flags.json ?? false,
    timing: flags.timing ?? false,
    environment: env,
  };
}

/** The token, trimmed. Throws CliError `invalid_request` for characters that no header can hold: the request would fail obscurely. */
export function usableToken(text: string | undefined): string | undefined {
  const token = text?.trim();
  if (!token) return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new CliError('invalid_request', 'the token holds spaces, line breaks or other characters that no token has', {
    hint: 'Take it as "bhatti serve status" or "bhatti user create" printed it: bht_ and letters and digits.',
  });
}

/** Parses the URL of a server. Throws CliError `invalid_request`. */
export function serverUrl(text: string | undefined): URL | undefined {
  if (!text) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    // Without user and password. Up to the last @, as in a malformed URL they may hold any character.
    const shown = text.replace(/^(\w+:\/\/)?.*@/s, '$1');
    const guess = `http://${shown}`;
    const hasHost = !text.includes('://') && !text.startsWith('/') && URL.canParse(guess);
    throw new CliError('invalid_request', `the server URL "${shown}" is not a valid http:// or https:// URL`, {
      ...(hasHost && { hint: `Did you mean ${guess}?` }),
    });
  }
  return url;
}
