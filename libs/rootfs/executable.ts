import { access, constants, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface Executable {
  readonly path: string;
  /** Changes when the file is replaced or modified. */
  readonly identity: string;
}

/** The program that `execvp(3)` would find by this name in the directories of `searchPath`; undefined when there is none. */
export async function findExecutable(name: string, searchPath: string): Promise<Executable | undefined> {
  for (const directory of searchPath.split(':')) {
    const path = join(directory || '.', name);
    try {
      await access(path, constants.X_OK);
      const file = await stat(path);
      const identity = [path, file.ino, file.size, file.mtimeMs, file.ctimeMs].join(' ');
      if (file.isFile()) return { path, identity };
    } catch {
      // Missing, or not executable for this user: try the next directory.
    }
  }
  return undefined;
}
