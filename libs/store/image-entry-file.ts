import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { systemCode } from './error.ts';
import { ImageEntry } from './image-entry.ts';

/** Errors of opening a path where there is nothing, a dangling or circular symlink, or a socket. */
const NO_FILE: ReadonlySet<string> = new Set(['ELOOP', 'ENOENT', 'ENOTDIR', 'ENXIO']);

/** Errors of opening another user's file. */
const UNREADABLE: ReadonlySet<string> = new Set(['EACCES', 'EPERM']);

/** The entry in a file of the catalog; null when there is none, or it is damaged or unreadable. */
export async function readEntry(path: string): Promise<ImageEntry | null> {
  try {
    return parseEntry(await contentOf(path));
  } catch (error) {
    // One unreadable file must not hide all others. `keysInEntry`, which must not miss any, does fail.
    if (UNREADABLE.has(systemCode(error) ?? '')) return null;
    throw error;
  }
}

function parseEntry(text: string): ImageEntry | null {
  try {
    return ImageEntry.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** The keys that the entry in a file may refer to: if it is damaged, or of a later version, any that appears in it. */
export async function keysInEntry(path: string): Promise<readonly string[]> {
  const text = await contentOf(path);
  const entry = parseEntry(text);
  return entry === null ? (text.match(/[0-9a-f]{64}/g) ?? []) : [entry.rootfsKey];
}

/** Empty when there is no such file, or something else that somebody has put in its place. */
async function contentOf(path: string): Promise<string> {
  let file: FileHandle;
  try {
    // O_NONBLOCK: a fifo would block a thread until somebody writes to it.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (NO_FILE.has(systemCode(error) ?? '')) return '';
    throw error;
  }
  try {
    const status = await file.stat();
    if (!status.isFile() || status.size === 0) return '';
    // With a single call: readFile() would ask for the size again, and read past the end.
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(status.size), 0, status.size, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
