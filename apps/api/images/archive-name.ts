import { archiveCompression, OciError, parseReference, readArchiveNames } from '@bhatti/oci';
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

/**
 * The reference that an uploaded archive gives its image, and the image name derived from it, as for a pull. Reads only the
 * archive's list of images. Throws ApiError `invalid_request` unless it holds exactly one image with a full reference.
 */
export async function nameByArchive(path: string): Promise<{ readonly reference: string; readonly name: string }> {
  const images = await namesOf(path);
  if (images.length === 0) throw refused('the archive holds no image');
  // The platforms of one image have one name.
  const called = [...new Set(images.map((names) => names.find(isFull) ?? names[0]))];
  const [reference] = called;
  if (called.length > 1)
    throw refused(
      `the archive holds several images; choose one by ?ref= (--ref of bhatti image import): ${listOf(called)}`,
    );
  if (reference === undefined) throw refused(`the archive does not say what its image is called: ${giveName}`);
  if (!isFull(reference)) throw tagAlone(reference);
  try {
    return { reference, name: deriveImageName(parseReference(reference)) };
  } catch (error) {
    throw refused(`the archive calls its image ${quoted(reference)}, which is no reference: ${giveName}`, error);
  }
}

/**
 * Throws ApiError `invalid_request` where the reference by which an image was chosen is the tag that the archive has of it, and no more:
 * a name derived from that would be the same for images of any repository. Knows it only of an archive that is not compressed.
 */
export async function requireMoreThanTag(path: string, reference: string): Promise<void> {
  if (isFull(reference)) return;
  // What else is wrong with the archive, the task tells.
  const images = await readArchiveNames(path, 'the archive').catch(() => []);
  if (images.some((names) => names.includes(reference))) throw tagAlone(reference);
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

function tagAlone(tag: string): ApiError {
  return refused(`of its image the archive tells the tag alone, ${quoted(tag)}: ${giveName}`);
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
