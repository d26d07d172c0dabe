import { OciError } from '../error.ts';
import { type Descriptor, MANIFEST_SIZE_LIMIT } from '../manifest.ts';
import type { Member } from './container.ts';

/** What an archive holds, in terms of the OCI image spec, whatever layout it has. */
export interface ArchiveContent {
  readonly images: readonly ArchivedImage[];
  /** A manifest, a config or a layer. */
  blob(digest: string): Promise<Member | Buffer | undefined>;
}

/** One image (or index) of an archive. */
export interface ArchivedImage {
  /** What it is called: `alpine:3.20` as written by the tool, or a tag alone. Empty when it has no name. */
  readonly names: readonly string[];
  /** Of its manifest or index, as an index would list it. */
  readonly entry: Descriptor & Readonly<Record<string, unknown>>;
}

/** All bytes of a small file, or of as much of it as the limit allows and one more. */
export async function readMember({ file, offset, size }: Member, limit: number): Promise<Buffer> {
  const buffer = Buffer.alloc(Math.min(size, limit + 1));
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

/**
 * All bytes of a JSON document.
 *
 * @param what what it is called in messages
 * @throws OciError `invalid_manifest` where there are more than 4 MiB
 */
export async function readDocument(member: Member, what: string): Promise<Buffer> {
  if (member.size <= MANIFEST_SIZE_LIMIT) return readMember(member, MANIFEST_SIZE_LIMIT);
  throw new OciError('invalid_manifest', `${what} is larger than ${MANIFEST_SIZE_LIMIT / 1024 / 1024} MiB`);
}

/** What is said of documents in an archive that cannot be read. */
export const DAMAGED = 'the archive is damaged, or no tool for images made it';
