import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { CliError, systemErrorCode } from './cli-error.ts';
import type { ConfigFile } from './settings.ts';

const schema = z
  .object({ url: z.string().optional(), token: z.string().optional(), data_dir: z.string().optional() })
  .nullish()
  .transform((value) => value ?? {});

/** The config files that count, the more specific first. `BHATTI_CONFIG` replaces the two usual places. */
export function configFilePaths(env: NodeJS.ProcessEnv): string[] {
  if (env.BHATTI_CONFIG) return [env.BHATTI_CONFIG];
  return [join(homedir(), '.bhatti', 'config.yaml'), '/etc/bhatti/config.yaml'];
}

/**
 * What the config files say; a value in the user's file wins over the system's. A missing file says nothing, unless
 * `BHATTI_CONFIG` named it. Throws CliError `invalid_config` for a file that cannot be read or is not understood.
 */
export async function readConfigFiles(env: NodeJS.ProcessEnv): Promise<ConfigFile> {
  const required = Boolean(env.BHATTI_CONFIG);
  const merged: ConfigFile = {};
  for (const path of configFilePaths(env).toReversed()) {
    Object.assign(merged, await readConfigFile(path, required));
  }
  return merged;
}

async function readConfigFile(path: string, required: boolean): Promise<ConfigFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const code = systemErrorCode(error);
    if (!required && (code === 'ENOENT' || code === 'ENOTDIR')) return {};
    throw new CliError('invalid_config', `cannot read the config file ${path} (${code ?? 'unknown error'})`, {
      cause: error,
    });
  }
  return parseConfigFile(text, path);
}

/** Parses the YAML of a config file; keys that are not ours are left alone. */
export async function parseConfigFile(text: string, path: string): Promise<ConfigFile> {
  // Loaded here: the parser costs 30 ms, and most machines have no config file.
  const { parse } = await import('yaml');
  try {
    return schema.parse(parse(text));
  } catch (error) {
    throw new CliError('invalid_config', `the config file ${path} is not understood: ${reason(error)}`, {
      cause: error,
    });
  }
}

function reason(error: unknown): string {
  if (error instanceof z.ZodError) {
    return error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`).join('; ');
  }
  return error instanceof Error ? (error.message.split('\n')[0] ?? error.message) : String(error);
}
