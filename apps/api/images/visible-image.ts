import { parseReference } from '@bhatti/oci';
import type { ImageEntry, Store } from '@bhatti/store';
import { deriveImageName, isValidImageName } from '@bhatti/tasks';
import type { Caller } from '../access/authentication.ts';
import { ApiError } from '../request/errors.ts';

/** An image and its owner. */
export interface OwnedImage {
  readonly owner: string;
  readonly entry: ImageEntry;
}

/** A position in the list of images. */
export interface ImagePosition {
  readonly name: string;
  readonly owner: string;
}

/**
 * The images that the caller may see, from behind that position: their own, shared ones, and for an admin everybody's. By
 * name, then owner, in the order of code units. Reads lazily, one image ahead for each owner.
 */
export async function* visibleImages(
  { images }: Pick<Store, 'images'>,
  caller: Caller,
  after?: ImagePosition,
): AsyncGenerator<OwnedImage> {
  const heads: { image: OwnedImage; rest: AsyncGenerator<OwnedImage> }[] = [];
  const add = async (rest: AsyncGenerator<OwnedImage>) => {
    const { value: image } = await rest.next();
    if (image !== undefined) heads.push({ image, rest });
  };
  for (const owner of await ownersFor(images, caller)) await add(visibleOf(images, caller, owner, after));
  while (heads.length > 0) {
    const first = heads.reduce((least, head) =>
      compare(placeOf(head.image), placeOf(least.image)) < 0 ? head : least,
    );
    yield first.image;
    heads.splice(heads.indexOf(first), 1);
    await add(first.rest);
  }
}

async function* visibleOf(
  images: Store['images'],
  caller: Caller,
  owner: string,
  after: ImagePosition | undefined,
): AsyncGenerator<OwnedImage, undefined> {
  for await (const entry of images.startingAt(owner, after?.name ?? '')) {
    const image = { owner, entry };
    if (after !== undefined && compare(placeOf(image), after) <= 0) continue;
    if (mayRead(caller, owner, entry)) yield image;
  }
}

function placeOf({ owner, entry }: OwnedImage): ImagePosition {
  return { name: entry.name, owner };
}

function compare(one: ImagePosition, other: ImagePosition): number {
  return compareText(one.name, other.name) || compareText(one.owner, other.owner);
}

/** By code units, whatever the locale. */
function compareText(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

/**
 * The image that a name means to the caller: their own, else a shared one, else for an admin the first of any owner; with
 * `owner`, that owner's. Rejects with ApiError 404, whether it is missing or the caller may not see it. An invalid name is
 * not looked up: it could be a path.
 */
export async function findImage(
  { images }: Pick<Store, 'images'>,
  caller: Caller,
  name: string,
  owner?: string,
): Promise<OwnedImage> {
  const found: OwnedImage[] = [];
  if (isValidImageName(name)) {
    for (const candidate of await ownersFor(images, caller)) {
      if (owner !== undefined && candidate !== owner) continue;
      const entry = await images.get(candidate, name);
      if (entry !== null && mayRead(caller, candidate, entry)) found.push({ owner: candidate, entry });
    }
  }
  const image =
    found.find((one) => one.owner === caller.owner) ?? found.find((one) => one.entry.shared === true) ?? found[0];
  if (image !== undefined) return image;
  throw new ApiError(
    404,
    'not_found',
    `no image ${JSON.stringify(name.slice(0, 64))}${owner === undefined ? '' : ` of ${JSON.stringify(owner)}`}${ofReference(name)}; "bhatti image list" shows what there is`,
  );
}

/** A hint for those who, as with Docker, name an image by its reference. */
function ofReference(text: string): string {
  if (isValidImageName(text)) return '';
  try {
    const name = deriveImageName(parseReference(text));
    return `: images go by their names here, ${name} where the pull of that reference was given no other`;
  } catch {
    return '';
  }
}

async function ownersFor(images: Store['images'], caller: Caller): Promise<string[]> {
  return [caller.owner, ...(await images.owners()).filter((owner) => owner !== caller.owner)];
}

function mayRead(caller: Caller, owner: string, entry: ImageEntry): boolean {
  return caller.admin || owner === caller.owner || entry.shared === true;
}
