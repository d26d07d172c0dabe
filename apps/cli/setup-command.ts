import { chmod, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeFolders } from '@bhatti/store';
import { CliError, systemErrorCode } from './cli-error.ts';
import { configFilePaths, parseConfigFile } from './config-file.ts';
import { identifyProcess } from './serve/process-identity.ts';
import { ApiClient } from './server/api-client.ts';
import { serverProxy } from './server/proxy.ts';
import { serverUrl, usableToken } from './settings.ts';
import { type Console, printJson } from './terminal/console.ts';
import { askLine } from './terminal/prompt.ts';

/** Ms after which a temporary file is a leftover: writing one takes milliseconds. */
const LEFTOVER_AGE = 60_000;

interface Answers {
  readonly url: string | undefined;
  readonly token: string | undefined;
}

/**
 * `bhatti setup`: asks for what is not `given`, tries it on the server, and writes the config file, unless the server refuses.
 * Rejects with CliError `setup_incomplete` if something is missing and there is no terminal to ask on.
 */
export async function setUp(given: Answers, env: NodeJS.ProcessEnv, console: Console, json: boolean): Promise<number> {
  const [path = ''] = configFilePaths(env);
  // Keeps a symlink (dotfiles), and replaces its target.
  const target = await realpath(path).catch(() => path);
  await removeLeftovers(target);
  const text = await readExisting(path);
  const before = await parseConfigFile(text, path);
  const url = serverUrl(given.url || (await ask('Server URL', before.url ?? 'http://localhost:8080', console)));
  const token = usableToken(
    given.token || (await ask('API token (not shown)', before.token, console, { secret: true })),
  );
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

/** Replaces the two values and keeps the rest, comments too. The file is replaced atomically, and private to its owner. */
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
 * Removes the temporary files of setups that were killed, as they may hold a token. A process with the pid in the name does not
 * keep an old file: a living setup writes it within milliseconds, so the pid has been reused.
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

/** Resolves with the answer, or `fallback` for an empty one. A secret is neither echoed nor shown as the fallback. */
async function ask(
  question: string,
  fallback: string | undefined,
  console: Console,
  { secret = false } = {},
): Promise<string | undefined> {
  if (!console.interactive) {
    throw new CliError('setup_incomplete', 'setup has to ask, and there is no terminal to ask on', {
      hint: 'Give the URL with --url and the token as BHATTI_TOKEN.',
    });
  }
  const shown = fallback === undefined ? '' : ` [${secret ? 'keep' : fallback}]`;
  return (await askLine(`${question}${shown}: `, { secret })).trim() || fallback;
}
