import { type Descriptor, documentTooLarge, MANIFEST_SIZE_LIMIT } from '../image/manifest.ts';
import { REFERENCE_LENGTH_LIMIT } from '../image/reference.ts';
import type { Member } from './container.ts';

/** The content of an archive of either layout, in terms of the OCI image spec. */
export interface ArchiveContent {
  readonly images: readonly ArchivedImage[];
  /** A manifest, config or layer; undefined when the archive does not hold it. */
  blob(digest: string): Promise<Member | Buffer | undefined>;
}

/** One image (or index) of an archive. */
export interface ArchivedImage {
  /** `alpine:3.20` as written by the tool, or a bare tag. Empty when the image has no name. */
  readonly names: readonly string[];
  /** Its manifest or index, as an index would list it. */
  readonly entry: Descriptor & Readonly<Record<string, unknown>>;
}

/** Whether it names an image. What is longer than any reference does not, and would be kept with the image, megabytes of it. */
export function isName(text: string): boolean {
  return text !== '' && text.length <= REFERENCE_LENGTH_LIMIT;
}

/** The bytes of a small file, but at most one more than the limit. */
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
 * The bytes of a JSON document.
 *
 * @param what what it is called in messages
 * @throws OciError `invalid_manifest` where there are more than `MANIFEST_SIZE_LIMIT`
 */
export async function readDocument(member: Member, what: string): Promise<Buffer> {
  if (member.size <= MANIFEST_SIZE_LIMIT) return readMember(member, MANIFEST_SIZE_LIMIT);
  throw documentTooLarge(what);
}

/** The suspected reason when a document in an archive cannot be parsed; see `parseJson`. */
export const DAMAGED = 'the archive is damaged, or no tool for images made it';
