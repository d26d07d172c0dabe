import { readFile, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { homeDirectory } from '@bhatti/store';
import * as z from 'zod';
import { CliError, systemErrorCode } from './cli-error.ts';
import type { ConfigFile } from './settings.ts';

const SYSTEM_FILE = '/etc/bhatti/config.yaml';

/** An empty value counts as not given; one that is left out (`url:`) is null in YAML. */
const text = z
  .string({ error: 'must be text' })
  .nullish()
  .transform((value) => value || undefined);
/** A relative path would mean another server in each folder, and no shell expands a ~ here. */
const folder = text.refine((path) => !path || isAbsolute(path), {
  error: 'must be an absolute path, as /home/ann/bhatti',
});
const schema = z
  .object({ url: text, token: text, data_dir: folder }, { error: 'must be lines such as "url: https://host"' })
  .nullish()
  .transform((value) => value ?? {});

/** The config files to read, the more specific first. `BHATTI_CONFIG` replaces the two usual places. */
export function configFilePaths(env: NodeJS.ProcessEnv): string[] {
  if (env.BHATTI_CONFIG) return [env.BHATTI_CONFIG];
  return [join(homeDirectory(env), '.bhatti', 'config.yaml'), SYSTEM_FILE];
}

/**
 * What the config files say; a value in the user's file wins over the system's. A missing file says nothing, unless
 * `BHATTI_CONFIG` named it. Throws CliError `invalid_config` for a file that cannot be read or is not understood.
 */
export async function readConfigFiles(
  env: NodeJS.ProcessEnv,
  warn: (text: string) => void = () => {},
): Promise<ConfigFile> {
  const required = Boolean(env.BHATTI_CONFIG);
  let merged: ConfigFile = {};
  for (const path of configFilePaths(env).toReversed()) {
    const {
      url = merged.url,
      token = merged.token,
      data_dir = merged.data_dir,
    } = await readConfigFile(path, required, warn);
    merged = { url, token, data_dir };
  }
  return merged;
}

async function readConfigFile(path: string, required: boolean, warn: (text: string) => void): Promise<ConfigFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const code = systemErrorCode(error);
    if (!required && (code === 'ENOENT' || code === 'ENOTDIR')) return {};
    throw new CliError('invalid_config', `cannot read the config file ${path} (${code ?? 'unknown error'})`, {
      cause: error,
      hint: required
        ? 'BHATTI_CONFIG names it: correct that, or make the file with "bhatti setup".'
        : 'It must be a file that you may read.',
    });
  }
  const config = await parseConfigFile(text, path);
  // The system's file is for everybody on purpose.
  if (config.token !== undefined && path !== SYSTEM_FILE && ((await stat(path)).mode & 0o077) !== 0) {
    warn(`other users may read the token in ${path}; keep it to yourself with: chmod 600 ${quoted(path)}`);
  }
  return config;
}

/** Quoted for a shell where necessary. */
function quoted(path: string): string {
  return /^[\w./~+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** Parses the YAML of a config file; keys that are not ours are left alone. */
export async function parseConfigFile(text: string, path: string): Promise<ConfigFile> {
  // Loaded here: the parser costs 30 ms, and most machines have no config file.
  const { parse } = await import('yaml');
  try {
    // Its warnings, about YAML tags and versions, would be printed by Node with every command.
    return schema.parse(parse(text, { logLevel: 'error' }));
  } catch (error) {
    throw new CliError('invalid_config', `the config file ${path} is not understood: ${reason(error)}`, {
      cause: error,
    });
  }
}

function reason(error: unknown): string {
  if (error instanceof z.ZodError) {
    return error.issues.map((issue) => `${issue.path.join('.') || 'it'} ${issue.message}`).join('; ');
  }
  // The lines after the first one show the place, which that one names.
  return error instanceof Error ? (error.message.split('\n')[0] ?? '').replace(/:$/, '') : String(error);
}
