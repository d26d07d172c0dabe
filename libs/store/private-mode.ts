import { chmod, stat } from 'node:fs/promises';
import { systemCode } from './error.ts';

const LEFT_ALONE: ReadonlySet<string> = new Set(['ENOENT', 'EROFS', 'EPERM']);

/**
 * Makes a path private (`mode`) if this user owns it, and a restored backup or another program has left permissions for group or others.
 * Missing paths are left alone, and so are those that cannot be changed: a secret that is mounted read-only has the mode that its operator
 * gave it. A path of another user fails where it is used.
 */
export async function closeToOthers(path: string, mode: 0o600 | 0o700): Promise<void> {
  try {
    const found = await stat(path);
    if ((found.mode & 0o077) !== 0 && found.uid === process.getuid?.()) await chmod(path, mode);
  } catch (error) {
    if (!LEFT_ALONE.has(systemCode(error) ?? '')) throw error;
  }
}

/** A warning about what others can do with a directory; undefined when that is nothing. */
export async function openToOthers(directory: string): Promise<string | undefined> {
  const mode = (await stat(directory)).mode & 0o777;
  if ((mode & 0o077) === 0) return undefined;
  const what =
    (mode & 0o022) === 0 ? 'others can see what is in it' : 'others can replace what is in it, also its secrets';
  return `the data directory ${directory} has mode ${mode.toString(8).padStart(4, '0')}: ${what}; chmod 700 it`;
}
