import type { ImageEntry, Store } from '@bhatti/store';
import { isValidImageName } from '@bhatti/tasks';
import type { Caller } from './authentication.ts';
import { ApiError } from './errors.ts';

/** An image and whose it is. */
export interface OwnedImage {
  readonly owner: string;
  readonly entry: ImageEntry;
}

/** What the caller sees: the own images, those that are shared, and for an admin everybody's. By name and owner. */
export async function visibleImages({ images }: Pick<Store, 'images'>, caller: Caller): Promise<OwnedImage[]> {
  const seen: OwnedImage[] = [];
  for (const owner of await ownersFor(images, caller)) {
    for (const entry of await images.list(owner)) if (mayRead(caller, owner, entry)) seen.push({ owner, entry });
  }
  return seen.sort((a, b) => compare(a.entry.name, b.entry.name) || compare(a.owner, b.owner));
}

/** Whether the image comes later in that order than the one with this name and owner. */
export function isAfter({ owner, entry }: OwnedImage, [name, ofOwner]: readonly [string, string]): boolean {
  return (compare(entry.name, name) || compare(owner, ofOwner)) > 0;
}

/** By code units, whatever the locale. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/**
 * The image that a name means to the caller: the own one, else a shared one, else for an admin the first there is; with
 * `owner` that owner's. What the caller may not see is no different from what is not there: ApiError 404. A name that
 * cannot be one is not looked up: it could be a path.
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
    `no image ${JSON.stringify(name.slice(0, 64))}; "bhatti image list" shows what there is`,
  );
}

async function ownersFor(images: Store['images'], caller: Caller): Promise<string[]> {
  return [caller.owner, ...(await images.owners()).filter((owner) => owner !== caller.owner)];
}

function mayRead(caller: Caller, owner: string, entry: ImageEntry): boolean {
  return caller.admin || owner === caller.owner || entry.shared === true;
}
