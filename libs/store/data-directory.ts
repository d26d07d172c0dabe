import { accessSync, constants, existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';

const systemDirectory = '/var/lib/bhatti';

export interface DataDirectoryChoice {
  /** `--data-dir` */
  readonly flag?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * The data directory, absolute: the flag, else `BHATTI_DATA_DIR`, else `/var/lib/bhatti` for root where that is or can be
 * made, else `bhatti` in the XDG data folder (XDG Base Directory Specification). Empty values count as not given.
 */
export function resolveDataDirectory({ flag, env }: DataDirectoryChoice): string {
  const given = flag || env.BHATTI_DATA_DIR;
  if (given) return resolve(given);
  if (process.getuid?.() === 0 && canWrite(systemDirectory)) return systemDirectory;
  const dataHome = env.XDG_DATA_HOME;
  // The specification wants relative paths ignored.
  if (dataHome && isAbsolute(dataHome)) return join(dataHome, 'bhatti');
  return join(homeDirectory(env), '.local', 'share', 'bhatti');
}

/** The home of this user, absolute: `HOME`, else what the system knows. `/` for one it has no name for (a container's number), as Docker has it. */
export function homeDirectory(env: NodeJS.ProcessEnv): string {
  if (env.HOME) return resolve(env.HOME);
  try {
    return userInfo().homedir;
  } catch {
    return '/';
  }
}

/** Whether the folder can be written to, or be made: then its nearest parent can. */
function canWrite(path: string): boolean {
  if (!existsSync(path)) return path !== dirname(path) && canWrite(dirname(path));
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
