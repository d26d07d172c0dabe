import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { OciError } from '../error.ts';
import type { LayerCompression } from '../image/media-type.ts';
import { errorCode, isSystemError } from '../system-error.ts';
import { ARCHIVE_HEAD_BYTES, type ArchiveLimits, archiveCompression, decompressFile } from './decompress.ts';
import { type Extent, TarIndex } from './tar-index.ts';

/** One file in an archive: a range of a file on disk. */
export interface Member extends Extent {
  readonly file: FileHandle;
}

/** The files in an archive, by name. */
export interface Container {
  find(name: string): Promise<Member | undefined>;
  close(): Promise<void>;
}

/** An archive on disk. */
export interface ArchiveSource {
  readonly path: string;
  /** What errors call it. */
  readonly label: string;
  readonly scratchDirectory: string;
  readonly limits: ArchiveLimits;
  readonly signal: AbortSignal | undefined;
}

/** @throws OciError `invalid_request`, `layer_corrupt`, `archive_too_large`, `expansion_too_large`, `no_space`, `cancelled` */
export async function openContainer(source: ArchiveSource): Promise<Container> {
  const { path, label } = source;
  try {
    const status = await stat(path);
    if (status.isDirectory()) return directoryContainer(path);
    // Opening a pipe would block, and it cannot be read twice.
    if (!status.isFile()) throw new OciError('invalid_request', `cannot read ${label}: it is not a regular file`);
    return await tarContainer(source);
  } catch (cause) {
    if (cause instanceof OciError) throw cause;
    throw unreadable(label, cause);
  }
}

/** An unpacked OCI layout. */
function directoryContainer(path: string): Container {
  const files = new Map<string, Promise<Member | undefined>>();
  return {
    async find(name) {
      // Only names from the layout spec: a digest cannot contain slashes or dots.
      if (!/^(index\.json|oci-layout|manifest\.json|blobs\/sha(256|512)\/[0-9a-f]+)$/.test(name)) return undefined;
      const found = files.get(name) ?? openMember(join(path, name));
      files.set(name, found);
      return found;
    },
    close: async () => {
      for (const found of await Promise.allSettled(files.values())) {
        if (found.status === 'fulfilled') await found.value?.file.close();
      }
    },
  };
}

async function openMember(path: string): Promise<Member | undefined> {
  try {
    // O_NONBLOCK: opening a pipe does not wait for its other end.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const status = await file.stat();
    if (status.isFile()) return { file, offset: 0, size: status.size };
    await file.close();
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT') return undefined;
    throw unreadable(path, cause);
  }
  throw new OciError('invalid_request', `cannot read ${path}: it is not a regular file`);
}

/** System errors that are due to the path that was given; others are not the caller's fault. */
const WRONG_PATH: ReadonlySet<string> = new Set(['EACCES', 'ELOOP', 'ENAMETOOLONG', 'ENOENT', 'ENOTDIR', 'EPERM']);

function unreadable(label: string, cause: unknown): OciError {
  const code = errorCode(cause);
  const reason = code === 'ENOENT' ? 'there is no such file' : code || String(cause);
  const isSystem = isSystemError(cause) && !WRONG_PATH.has(code);
  return new OciError(isSystem ? 'internal' : 'invalid_request', `cannot read ${label}: ${reason}`, { cause });
}

async function tarContainer({ path, label, scratchDirectory, limits, signal }: ArchiveSource): Promise<Container> {
  const compression = await sniffFile(path, label);
  const scratch = compression === 'none' ? undefined : join(scratchDirectory, `archive-${randomUUID()}.tar`);
  let file: FileHandle | undefined;
  const close = async (): Promise<void> => {
    await file?.close();
    if (scratch !== undefined) await rm(scratch, { force: true });
  };
  try {
    if (compression !== 'none' && scratch !== undefined)
      await decompressFile({ path, label, compression, destination: scratch, limits, signal });
    const opened = await open(scratch ?? path, 'r');
    file = opened;
    const index = await TarIndex.read(opened, (await opened.stat()).size, label, signal);
    return {
      async find(name) {
        const extent = index.find(name);
        return extent && { ...extent, file: opened };
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** How the file is compressed. @throws OciError `invalid_request` for a format that is not supported */
export async function sniffFile(path: string, label: string): Promise<LayerCompression> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(ARCHIVE_HEAD_BYTES), 0, ARCHIVE_HEAD_BYTES, 0);
    return archiveCompression(buffer.subarray(0, bytesRead), label);
  } finally {
    await file.close();
  }
}
