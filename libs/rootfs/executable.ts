import { access, constants, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface Executable {
  readonly path: string;
  /** Differs once the file is another, or has changed. */
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
      // Not there, or not ours to run: the next may be.
    }
  }
  return undefined;
}
