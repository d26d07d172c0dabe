import { randomUUID } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { createApiToken, isApiToken, readText } from '@bhatti/store';
import { errorCode } from '../request/error-code.ts';

/**
 * The bearer token of the TCP listener: read from its file (mode 0600), or made there on the first start.
 * Throws when the file holds something else, rather than replace what somebody wrote.
 */
export async function loadToken(path: string): Promise<string> {
  const token = (await readText(path))?.trim() ?? (await create(path));
  if (!isApiToken(token)) {
    throw new Error(`${path} does not hold a token (bht_ and 40 letters or digits); remove the file to have one made`);
  }
  return token;
}

async function create(path: string): Promise<string> {
  const token = createApiToken();
  const temporary = `${path}.${randomUUID()}`;
  try {
    await writeFile(temporary, `${token}\n`, { mode: 0o600, flag: 'wx', flush: true });
    // A link is exclusive and whole: of two processes that start together one wins, and both read the same token.
    await link(temporary, path);
    return token;
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    return (await readFile(path, 'utf8')).trim();
  } finally {
    await rm(temporary, { force: true });
  }
}
