import type { Store } from '@bhatti/store';
import * as z from 'zod';
import type { Caller } from '../access/authentication.ts';
import { ImageList, ImageView, PruneBody, Pruned } from '../api-schema.ts';
import { imageView } from '../images/image-view.ts';
import { prune, removeUnreferenced } from '../images/prune.ts';
import { findImage, type ImagePosition, type OwnedImage, visibleImages } from '../images/visible-image.ts';
import { etagOf, isUnchanged, requireMatch } from '../request/entity-tag.ts';
import { ApiError } from '../request/errors.ts';
import { decodeCursor, encodeCursor, longestPage, pageQuery } from '../request/pagination.ts';
import { type Call, defineRoute, noBody, noQuery, type Route } from '../request/route.ts';
import type { Services } from '../services.ts';

/** Characters of JSON after which a page of images ends. A thousand usual images have some 2 million. */
const LARGEST_PAGE = 4 * 2 ** 20;

/** Whose image is meant, where several have one of that name. */
export const ownerQuery = z.strictObject({
  owner: z.string().max(63, { error: 'is longer than any name' }).optional(),
});

/** What is in the catalog of the caller. */
export function imageRoutes(services: Pick<Services, 'store' | 'tasks'>): Route[] {
  return [
    listImages(services),
    showImage(services),
    deleteImage(services),
    shareImage(services, 'PUT'),
    shareImage(services, 'DELETE'),
    pruneImages(services),
  ];
}

function listImages({ store }: Pick<Services, 'store'>): Route {
  return defineRoute({
    method: 'GET',
    path: '/images',
    summary:
      'The images that the caller may see, by name: their own and shared ones, for an admin all. 1,000 a page, or ?limit=; fewer where they are large.',
    query: z.strictObject(pageQuery),
    body: noBody,
    answers: { 200: { description: 'A page of images.', schema: ImageList } },
    handle: async ({ query, caller }) => {
      const after = query.cursor === undefined ? undefined : toPosition(query.cursor);
      const { shown, last } = await pageOf(store, visibleImages(store, caller, after), query.limit ?? longestPage);
      return {
        status: 200,
        body: { images: shown, next: last === undefined ? null : encodeCursor(`${last.name}/${last.owner}`) },
      };
    },
  });
}

/** Name and owner. */
const imageCursor = /^([A-Za-z0-9._-]{1,63})\/([A-Za-z0-9._-]{1,63})$/;

function toPosition(cursor: string): ImagePosition {
  const [, name = '', owner = ''] = decodeCursor(cursor, imageCursor);
  return { name, owner };
}

/**
 * The first images, until there are `limit` of them or `LARGEST_PAGE` is passed, and the last one of them where more follow. An
 * image's config may have megabytes, and who pulls it under 1,000 names must not make the API hold gigabytes.
 */
async function pageOf(store: Store, images: AsyncIterable<OwnedImage>, limit: number) {
  const shown: ImageView[] = [];
  let size = 0;
  for await (const image of images) {
    if (shown.length === limit || size > LARGEST_PAGE) return { shown, last: shown.at(-1) };
    const view = imageView(store, image);
    shown.push(view);
    size += JSON.stringify(view).length;
  }
  return { shown, last: undefined };
}

function showImage({ store }: Pick<Services, 'store'>): Route {
  return defineRoute({
    method: 'GET',
    path: '/images/:name',
    summary:
      "One image: the caller's own of that name, else the shared one; ?owner=NAME for another user's. Its ETag changes with any of its fields.",
    query: ownerQuery,
    body: noBody,
    answers: {
      200: { description: 'The image.', schema: ImageView },
      304: { description: 'It is what If-None-Match names.' },
    },
    handle: async (call) => {
      const image = await findImage(store, call.caller, call.params.name ?? '', call.query.owner);
      const body = await wholeView(store, image);
      const headers = { ETag: etagOf(body), 'Cache-Control': 'private, no-cache' };
      requireMatch(call.headers['if-match'], tagsOf(body));
      return isUnchanged(call.headers['if-none-match'], headers.ETag)
        ? { status: 304, headers }
        : { status: 200, headers, body };
    },
  });
}

/** All that is known of an image. */
async function wholeView(store: Services['store'], image: OwnedImage) {
  const { sha256 } = await store.rootfs.read(image.entry.rootfsKey);
  return { ...imageView(store, image), sha256 };
}

/** The tag of an image, and the one it had before its SHA-256 was recorded, which happens after the build and is no change to it. */
function tagsOf(view: Awaited<ReturnType<typeof wholeView>>): string[] {
  return [etagOf(view), etagOf({ ...view, sha256: undefined })];
}

function deleteImage({ store, tasks }: Pick<Services, 'store' | 'tasks'>): Route {
  return defineRoute({
    method: 'DELETE',
    path: '/images/:name',
    summary:
      'Delete the name, with If-Match only while the image is the same. Its root filesystem stays while anything else needs it.',
    query: ownerQuery,
    body: noBody,
    answers: { 204: { description: 'The name was deleted.' } },
    handle: async ({ params, query, caller, log, headers }) => {
      const { owner, entry } = await findImage(store, caller, params.name ?? '', query.owner);
      requireOwner(caller, owner, query.owner);
      const ifMatch = headers['if-match'];
      const isMeant = async () => {
        const now = await store.images.get(owner, entry.name);
        requireMatch(ifMatch, now === null ? [] : tagsOf(await wholeView(store, { owner, entry: now })));
      };
      await store.images.delete(owner, entry.name, ifMatch === undefined ? undefined : isMeant);
      log.info({ image: entry.name, owner, by: caller.owner }, 'image deleted');
      void freeDisk(store, tasks, log);
      return { status: 204 };
    },
  });
}

/** Owners may change their own images; an admin has to name the owner of another's. Throws ApiError 403. */
function requireOwner(caller: Caller, owner: string, named: string | undefined): void {
  if (owner === caller.owner || (caller.admin && named === owner)) return;
  const how = caller.admin ? `add ?owner=${owner} to change it` : 'only its owner or an admin can change it';
  throw new ApiError(403, 'forbidden', `the image belongs to ${owner}; ${how}`);
}

/** Shared names are everybody's, so only admins give them. */
function shareImage({ store }: Pick<Services, 'store'>, method: 'PUT' | 'DELETE'): Route {
  const shared = method === 'PUT';
  return defineRoute({
    method,
    path: '/images/:name/share',
    summary: `${shared ? 'Let everybody see and use an image' : 'Stop sharing an image'}, with If-Match only while it is the same. For admins.`,
    query: ownerQuery,
    body: noBody,
    answers: { 200: { description: 'The image.', schema: ImageView } },
    handle: async ({ params, query, caller, log, headers }) => {
      const ifMatch = headers['if-match'];
      for (;;) {
        const { owner, entry } = await findImage(store, caller, params.name ?? '', query.owner);
        if (!caller.admin) throw new ApiError(403, 'forbidden', 'only an admin can share images with everybody');
        if (ifMatch !== undefined) requireMatch(ifMatch, tagsOf(await wholeView(store, { owner, entry })));
        const changed = { ...entry, shared };
        // A pull or a deletion came in between: look at the image again.
        if (!(await store.images.replace(owner, entry, changed))) continue;
        log.info({ image: entry.name, owner, shared }, 'sharing of an image changed');
        return { status: 200, body: imageView(store, { owner, entry: changed }) };
      }
    },
  });
}

function pruneImages({ store, tasks }: Pick<Services, 'store' | 'tasks'>): Route {
  return defineRoute({
    method: 'POST',
    path: '/images/prune',
    summary:
      'Remove from the disk what neither an image nor a task under way needs: cached layers, root filesystems without a name, partial downloads. For admins.',
    query: noQuery,
    body: PruneBody,
    answers: { 200: { description: 'What was, or would be, removed.', schema: Pruned } },
    handle: async ({ body, caller, log }) => {
      if (!caller.admin) throw new ApiError(403, 'forbidden', 'only an admin can prune what all users share');
      const dryRun = body?.dry_run ?? false;
      const { freedBytes, layers, rootfs, downloads } = await prune(store, tasks, dryRun);
      log.info({ freedBytes, layers, rootfs, downloads, dryRun, by: caller.owner }, 'pruned');
      return { status: 200, body: { freed_bytes: freedBytes, layers, rootfs, downloads, dry_run: dryRun } };
    },
  });
}

/** Gigabytes take a while to remove: nobody waits for it. */
async function freeDisk(store: Services['store'], tasks: Services['tasks'], log: Call['log']): Promise<void> {
  try {
    const keys = await removeUnreferenced(store, tasks);
    if (keys.length > 0) log.info({ rootfs_keys: keys }, 'root filesystems without a name removed');
  } catch (error) {
    log.warn({ err: error }, 'root filesystems without a name could not be removed; the next deletion tries again');
  }
}
