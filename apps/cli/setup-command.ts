import { chmod, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeFolders } from '@bhatti/store';
import { ApiClient } from './api-client.ts';
import { CliError, systemErrorCode } from './cli-error.ts';
import { configFilePaths, parseConfigFile } from './config-file.ts';
import { type Console, printJson } from './console.ts';
import { askLine } from './prompt.ts';
import { serverProxy } from './proxy.ts';
import { identifyProcess } from './serve/process-identity.ts';
import { serverUrl, usableToken } from './settings.ts';

/** Of a file that is written in one go, ms. */
const LEFTOVER_AGE = 60_000;

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
  // Who keeps it elsewhere and links to it (dotfiles) finds it there.
  const target = await realpath(path).catch(() => path);
  await removeLeftovers(target);
  const text = await readExisting(path);
  const before = await parseConfigFile(text, path);
  const url = serverUrl(given.url || (await ask('Server URL', before.url ?? 'http://localhost:8080', false, console)));
  const token = usableToken(given.token || (await ask('API token (not shown)', before.token, true, console)));
  if (url === undefined || !token) throw new CliError('setup_incomplete', 'a URL and a token are needed');
  const client = new ApiClient({ kind: 'url', url, token, proxy: serverProxy(url, env) });
  try {
    await client.images();
  } finally {
    client.close();
  }
  await writeConfigFile({ path, target }, text, { url: url.href.replace(/\/$/, ''), token });
  if (json) printJson(console, { path, url: url.href.replace(/\/$/, '') });
  else console.out(`${url.origin} accepts the token; written to ${path}\n`);
  return 0;
}

/** Replaces the two values and keeps the rest, comments too. The file is whole at every moment, and its owner's only. */
async function writeConfigFile(
  { path, target }: { path: string; target: string },
  before: string,
  values: { url: string; token: string },
): Promise<void> {
  const { parseDocument } = await import('yaml');
  const document = parseDocument(before);
  document.set('url', values.url);
  document.set('token', values.token);
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

/**
 * Removes what setups that were killed were writing, as a token may be in it. One that lives is done with that within milliseconds, and
 * a process that has been there for longer has come to the id of one that died.
 */
async function removeLeftovers(target: string): Promise<void> {
  const folder = dirname(target);
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.startsWith(`${basename(target)}.`)) continue;
    const pid = /^\.(\d+)\.tmp$/.exec(name.slice(basename(target).length))?.[1];
    if (pid === undefined) continue;
    const path = join(folder, name);
    const written = await stat(path).catch(() => undefined);
    const isOld = written !== undefined && Date.now() - written.mtimeMs > LEFTOVER_AGE;
    if (isOld || identifyProcess(Number(pid)) === undefined) await rm(path, { force: true }).catch(() => undefined);
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
  const shown = fallback === undefined ? '' : ` [${secret ? 'keep' : fallback}]`;
  return (await askLine(`${question}${shown}: `, { secret })).trim() || fallback;
}
