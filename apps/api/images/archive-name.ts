import { archiveCompression, imagesCalled, OciError, parseReference, readArchiveNames } from '@bhatti/oci';
import { deriveImageName } from '@bhatti/tasks';
import { ApiError } from '../request/errors.ts';

const giveName = 'give it a name (?name=NAME, or --name NAME of bhatti image import)';

/** Names shown in a message, and characters of each: an archive may hold a thousand, of any length. */
const shown = { names: 20, characters: 100 };

/**
 * Checks an archive by its first ARCHIVE_HEAD_BYTES bytes, before the rest has arrived. Throws OciError for a format that is
 * not supported, ApiError `invalid_request` for a compressed archive whose name would have to be read from it.
 */
export function checkArchiveHead(head: Uint8Array, isNamed: boolean): void {
  const compression = archiveCompression(head, 'the archive');
  if (isNamed || compression === 'none') return;
  throw refused(
    `what the image is called cannot be read of a compressed archive (${compression}): ${giveName}, or send it uncompressed`,
  );
}

export interface ArchiveName {
  readonly reference: string;
  /** Of the image, derived from the reference as for a pull. */
  readonly name: string;
}

/**
 * What an uploaded archive calls its image. Reads only the archive's list of images. Throws ApiError `invalid_request` unless it holds
 * exactly one image with a full reference.
 */
export async function nameByArchive(path: string): Promise<ArchiveName> {
  const images = await namesOf(path);
  if (images.length === 0) throw refused('the archive holds no image');
  return nameOf(images.map((names) => names.find(isFull) ?? names[0]));
}

/**
 * The same for the image that the worker will take for this one, where it is chosen by its tag, which says nothing of what it is called:
 * images of any repository have it. Undefined where it is chosen otherwise, and for a compressed archive; what else is wrong with the
 * archive, the task tells.
 */
export async function nameByTag(path: string, tag: string): Promise<ArchiveName | undefined> {
  if (isFull(tag)) return undefined;
  const images = await readArchiveNames(path, 'the archive').catch(() => []);
  const chosen = imagesCalled(
    images.map((names) => ({ names })),
    tag,
  );
  const tagged = chosen.flatMap(
    ({ names }) => names.find((name) => name.endsWith(`:${tag}`)) ?? names.filter((name) => name === tag),
  );
  return tagged.length === 0 ? undefined : nameOf(tagged);
}

function nameOf(names: readonly (string | undefined)[]): ArchiveName {
  // The platforms of one image have one name.
  const called = [...new Set(names)];
  const [reference] = called;
  if (called.length > 1)
    throw refused(
      `the archive holds several images; choose one by ?ref= (--ref of bhatti image import): ${listOf(called)}`,
    );
  if (reference === undefined) throw refused(`the archive does not say what its image is called: ${giveName}`);
  if (!isFull(reference))
    throw refused(`of its image the archive tells the tag alone, ${quoted(reference)}: ${giveName}`);
  try {
    return { reference, name: deriveImageName(parseReference(reference)) };
  } catch (error) {
    throw refused(`the archive calls its image ${quoted(reference)}, which is no reference: ${giveName}`, error);
  }
}

async function namesOf(path: string): Promise<readonly (readonly string[])[]> {
  try {
    return await readArchiveNames(path, 'the archive');
  } catch (error) {
    // These are about the content, which is the client's.
    const codes = ['layer_corrupt', 'invalid_manifest'];
    throw error instanceof OciError && codes.includes(error.code) ? refused(error.message, error) : error;
  }
}

/** More than a bare tag, which is all that OCI layouts often have. */
function isFull(name: string): boolean {
  return /[:/]/.test(name);
}

function listOf(names: readonly (string | undefined)[]): string {
  const some = names.slice(0, shown.names).map((name) => (name === undefined ? 'one without a name' : quoted(name)));
  return [...some, ...(names.length > shown.names ? ['…'] : [])].join(', ');
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, shown.characters));
}

function refused(message: string, cause?: unknown): ApiError {
  return new ApiError(400, 'invalid_request', message, { cause });
}
