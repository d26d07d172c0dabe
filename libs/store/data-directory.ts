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
 * The data directory, absolute: the flag, else `BHATTI_DATA_DIR`, else `/var/lib/bhatti` for root if that is writable or can be
 * created, else `bhatti` in the XDG data folder (XDG Base Directory Specification). Empty values count as unset.
 */
export function resolveDataDirectory({ flag, env }: DataDirectoryChoice): string {
  const given = flag || env.BHATTI_DATA_DIR;
  if (given) return resolve(given);
  if (process.getuid?.() === 0 && canWrite(systemDirectory)) return systemDirectory;
  const dataHome = env.XDG_DATA_HOME;
  // By the specification, relative paths are ignored.
  if (dataHome && isAbsolute(dataHome)) return join(dataHome, 'bhatti');
  return join(homeDirectory(env), '.local', 'share', 'bhatti');
}

/** This user's home, absolute: `HOME`, else the system's. `/` for a user whom the system does not know (a bare uid in a container), as for Docker. */
export function homeDirectory(env: NodeJS.ProcessEnv): string {
  if (env.HOME) return resolve(env.HOME);
  try {
    return userInfo().homedir;
  } catch {
    return '/';
  }
}

/** Whether the folder is writable or, if it does not exist, its nearest existing parent is. */
function canWrite(path: string): boolean {
  if (!existsSync(path)) return path !== dirname(path) && canWrite(dirname(path));
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
