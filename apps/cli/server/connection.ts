import { CliError } from '../cli-error.ts';
import { checkSocketPaths, localPaths } from '../local-paths.ts';
import type { Settings } from '../settings.ts';
import { ApiClient } from './api-client.ts';
import type { ApiConnectionOptions } from './api-connection.ts';
import { UnreachableError } from './api-error.ts';
import { otherHost } from './other-host.ts';
import { serverProxy } from './proxy.ts';

/** The documented default, used when a token for it is known. */
const DEFAULT_URL = new URL('http://localhost:8080');
const PROBE_TIMEOUT = 3000;

/**
 * The server to use: the one configured; else the local stack of the data directory when it runs; else the default URL
 * when a bhatti server answers there and a token is known; else a local stack that is started now and stays, unless an API of
 * another host uses its data directory. Rejects with CliError when no server can be had.
 */
export async function connect(settings: Settings, options: ApiConnectionOptions): Promise<ApiClient> {
  const running = await connectRunning(settings, options);
  if (running !== undefined) return running;
  const paths = localPaths(settings.dataDirectory);
  await refuseOtherHost(paths.apiFile);
  const { startDetached } = await import('../serve/detached.ts');
  await startDetached({ dataDirectory: settings.dataDirectory, workers: 1 });
  return new ApiClient({ kind: 'socket', path: paths.apiSocket }, options);
}

/** A stack that nobody asked for, with a Redis of its own, would share the data directory with an installation of several hosts. */
async function refuseOtherHost(apiFile: string): Promise<void> {
  const host = await otherHost(apiFile);
  if (host === undefined) return;
  throw new CliError('other_host', `an API on the host ${host} uses this data directory`, {
    hint: 'Use its URL (--url, or "bhatti setup"). If it is gone for good, "bhatti serve --detach" starts a server here.',
  });
}

/** The same without starting anything: undefined if no server runs. */
export async function connectRunning(
  settings: Settings,
  options: ApiConnectionOptions,
): Promise<ApiClient | undefined> {
  if (settings.url) {
    const { url, token, environment } = settings;
    return new ApiClient({ kind: 'url', url, token, proxy: serverProxy(url, environment) }, options);
  }
  const paths = localPaths(settings.dataDirectory);
  checkSocketPaths(paths);
  const local = new ApiClient({ kind: 'socket', path: paths.apiSocket }, options);
  if (await answers(local)) return local;
  local.close();
  if (settings.token && !settings.dataDirectoryGiven) {
    const byUrl = new ApiClient({ kind: 'url', url: DEFAULT_URL, token: settings.token }, options);
    if (await answers(byUrl)) return byUrl;
    byUrl.close();
  }
  return undefined;
}

async function answers(client: ApiClient): Promise<boolean> {
  try {
    await client.health(PROBE_TIMEOUT);
    return true;
  } catch (error) {
    if (error instanceof UnreachableError && error.systemCode === 'EACCES') {
      throw new CliError('permission_denied', 'the local stack is run by another user, whose socket is private', {
        cause: error,
        hint: 'Use its URL and token (--url, --token), or a data directory of your own (--data-dir).',
      });
    }
    return false;
  }
}
