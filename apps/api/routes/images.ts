import type { ImageEntry } from '@bhatti/store';
import { isValidImageName } from '@bhatti/tasks';
import { z } from 'zod';
import { alreadyPulled } from '../already-pulled.ts';
import { AlreadyThere, ImageList, ImageView, PullBody, Queued } from '../api-schema.ts';
import { etagOf, isUnchanged } from '../entity-tag.ts';
import { ApiError } from '../errors.ts';
import { imageView } from '../image-view.ts';
import { decodeCursor, encodeCursor, longestPage, pageQuery } from '../pagination.ts';
import { toPullRequest } from '../pull-request.ts';
import { type Call, defineRoute, noBody, noQuery, type Route } from '../route.ts';
import type { Services } from '../services.ts';

/** Pulling images, and what is in the catalog of the caller. */
export function imageRoutes(services: Pick<Services, 'store' | 'tasks' | 'registry'>): Route[] {
  return [pullImage(services), listImages(services), showImage(services), deleteImage(services)];
}

function pullImage({ store, tasks, registry }: Pick<Services, 'store' | 'tasks' | 'registry'>): Route {
  return defineRoute({
    method: 'POST',
    path: '/images/pull',
    summary: 'Pull an image: 202 with the task that does it, or 200 when that very digest is there under the name.',
    query: noQuery,
    body: PullBody,
    answers: {
      200: { description: 'That digest is there under the name.', schema: AlreadyThere },
      202: { description: 'A task does it.', schema: Queued },
    },
    handle: async ({ body, caller, signal, log }) => {
      const pull = toPullRequest(body);
      const there = body.force ? null : await alreadyPulled({ store, registry, log }, caller.owner, pull, signal);
      if (there !== null) {
        return { status: 200, body: { status: 'exists', image: there.name, digest: there.manifestDigest } };
      }
      const id = await tasks.enqueuePull(caller.owner, pull);
      log.info({ task_id: id, ref: pull.reference, image: pull.name, owner: caller.owner }, 'pull queued');
      return { status: 202, body: { task_id: id, status: 'queued', name: pull.name } };
    },
  });
}

const nameCursor = /^[A-Za-z0-9._-]{1,63}$/;

function listImages({ store }: Pick<Services, 'store'>): Route {
  return defineRoute({
    method: 'GET',
    path: '/images',
    summary: 'The images of the caller, by name; all of them, where no limit is given and no more than a page holds.',
    query: z.strictObject(pageQuery),
    body: noBody,
    answers: { 200: { description: 'A page of images.', schema: ImageList } },
    handle: async ({ query, caller }) => {
      const after = query.cursor === undefined ? undefined : decodeCursor(query.cursor, nameCursor)[0];
      const limit = query.limit ?? longestPage;
      // One more than is shown tells whether there is a next page.
      const entries = await store.images.list(caller.owner, { after, limit: limit + 1 });
      const shown = entries.slice(0, limit);
      const last = entries.length > limit ? shown.at(-1) : undefined;
      const images = shown.map((entry) => imageView(store, entry));
      return { status: 200, body: { images, next: last === undefined ? null : encodeCursor(last.name) } };
    },
  });
}

function showImage({ store }: Pick<Services, 'store'>): Route {
  return defineRoute({
    method: 'GET',
    path: '/images/:name',
    summary: 'One image. Its ETag changes with anything in it.',
    query: noQuery,
    body: noBody,
    answers: {
      200: { description: 'The image.', schema: ImageView },
      304: { description: 'It is what If-None-Match names.' },
    },
    handle: async (call) => {
      const body = imageView(store, await findImage(store, call));
      const headers = { ETag: etagOf(body), 'Cache-Control': 'private, no-cache' };
      return isUnchanged(call.headers['if-none-match'], headers.ETag)
        ? { status: 304, headers }
        : { status: 200, headers, body };
    },
  });
}

function deleteImage({ store }: Pick<Services, 'store'>): Route {
  return defineRoute({
    method: 'DELETE',
    path: '/images/:name',
    summary: 'Take the name away. Its root file system stays in the cache while anything else needs it.',
    query: noQuery,
    body: noBody,
    answers: { 204: { description: 'It is gone.' } },
    handle: async (call) => {
      const { name } = await findImage(store, call);
      await store.images.delete(call.caller.owner, name);
      call.log.info({ image: name, owner: call.caller.owner }, 'image deleted');
      void freeDisk(store, call.log);
      return { status: 204 };
    },
  });
}

/** Gigabytes take a while to remove: nobody waits for it. */
async function freeDisk(store: Services['store'], log: Call['log']): Promise<void> {
  try {
    const keys = await store.removeUnreferenced();
    if (keys.length > 0) log.info({ keys }, 'root file systems without a name removed');
  } catch (error) {
    log.warn({ err: error }, 'root file systems without a name could not be removed; the next deletion tries again');
  }
}

/** A name that cannot be one is not looked up: it could be a path. */
async function findImage(store: Services['store'], { params, caller }: Call): Promise<ImageEntry> {
  const name = params.name ?? '';
  const entry = isValidImageName(name) ? await store.images.get(caller.owner, name) : null;
  if (!entry)
    throw new ApiError(
      404,
      'not_found',
      `no image ${JSON.stringify(name.slice(0, 64))}; "bhatti image list" shows what there is`,
    );
  return entry;
}
