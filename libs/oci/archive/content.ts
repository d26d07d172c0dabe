import type { Descriptor } from '../manifest.ts';
import type { Container, Member } from './container.ts';

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

/** A JSON document of the archive's own, or undefined when there is none of that name. */
export async function readDocument(container: Container, name: string, limit: number): Promise<Buffer | undefined> {
  const member = await container.find(name);
  return member && readMember(member, limit);
}
