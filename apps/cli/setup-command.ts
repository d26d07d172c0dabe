import { chmod, open, readFile, realpath, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Writable } from 'node:stream';
import { makeFolders } from '@bhatti/store';
import { createApiClient } from './api-client.ts';
import { CliError, systemErrorCode } from './cli-error.ts';
import { configFilePaths, parseConfigFile } from './config-file.ts';
import { type Console, printJson } from './console.ts';
import { serverProxy } from './proxy.ts';
import { serverUrl, usableToken } from './settings.ts';

interface Answers {
  readonly url: string | undefined;
  readonly token: string | undefined;
}

/**
 * `bhatti setup`: asks for what `given` does not say, tries it on the server, and writes the config file. Nothing is
 * written when the server refuses. Rejects with CliError `setup_incomplete` where something is missing and nobody can
 * be asked.
 */
export async function setUp(given: Answers, env: NodeJS.ProcessEnv, console: Console, json: boolean): Promise<number> {
  const [path = ''] = configFilePaths(env);
  const text = await readExisting(path);
  const before = await parseConfigFile(text, path);
  const url = serverUrl(given.url || (await ask('Server URL', before.url ?? 'http://localhost:8080', false, console)));
  const token = usableToken(given.token || (await ask('API token (not shown)', before.token, true, console)));
  if (url === undefined || !token) throw new CliError('setup_incomplete', 'a URL and a token are needed');
  const client = createApiClient({ kind: 'url', url, token, proxy: serverProxy(url, env) });
  try {
    await client.images();
  } finally {
    client.close();
  }
  await writeConfigFile(path, text, { url: url.href.replace(/\/$/, ''), token });
  if (json) printJson(console, { path, url: url.href.replace(/\/$/, '') });
  else console.out(`${url.origin} accepts the token; written to ${path}\n`);
  return 0;
}

/** Replaces the two values and keeps the rest, comments too. The file is whole at every moment, and its owner's only. */
async function writeConfigFile(path: string, before: string, values: { url: string; token: string }): Promise<void> {
  const { parseDocument } = await import('yaml');
  const document = parseDocument(before);
  document.set('url', values.url);
  document.set('token', values.token);
  // Who keeps it elsewhere and links to it (dotfiles) finds it there.
  const target = await realpath(path).catch(() => path);
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    await makeFolders(dirname(path), 0o700);
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(document.toString());
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(temporary, 0o600);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new CliError('setup_failed', `cannot write ${path} (${systemErrorCode(error) ?? 'unknown error'})`, {
      cause: error,
    });
  }
}

async function readExisting(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return '';
    throw new CliError('invalid_config', `cannot read the config file ${path} (${systemErrorCode(error)})`, {
      cause: error,
    });
  }
}

async function ask(
  question: string,
  fallback: string | undefined,
  secret: boolean,
  console: Console,
): Promise<string | undefined> {
  if (!console.interactive) {
    throw new CliError('setup_incomplete', 'setup has to ask, and there is no terminal to ask on', {
      hint: 'Give the URL with --url and the token as BHATTI_TOKEN.',
    });
  }
  const { createInterface } = await import('node:readline/promises');
  const shown = fallback === undefined ? '' : ` [${secret ? 'keep' : fallback}]`;
  const text = `${question}${shown}: `;
  // The terminal is read key by key, and a secret's keys are echoed into nothing; before it is asked for, as some are quick.
  const output = secret ? new Writable({ write: (_chunk, _encoding, done) => done() }) : process.stderr;
  const prompt = createInterface({ input: process.stdin, output, terminal: true });
  if (secret) console.err(text);
  try {
    return (await prompt.question(secret ? '' : text)).trim() || fallback;
  } finally {
    prompt.close();
    if (secret) console.err('\n');
  }
}
