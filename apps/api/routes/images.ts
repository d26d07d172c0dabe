import type { ImageEntry } from '@bhatti/store';
import { isValidImageName } from '@bhatti/tasks';
import { alreadyPulled } from '../already-pulled.ts';
import { ApiError } from '../errors.ts';
import { imageView } from '../image-view.ts';
import { pullBody, toPullRequest } from '../pull-request.ts';
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
    body: pullBody,
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

function listImages({ store }: Pick<Services, 'store'>): Route {
  return defineRoute({
    method: 'GET',
    path: '/images',
    summary: 'The images of the caller, by name.',
    query: noQuery,
    body: noBody,
    handle: async ({ caller }) => {
      const entries = await store.images.list(caller.owner);
      return { status: 200, body: { images: entries.map((entry) => imageView(store, entry)) } };
    },
  });
}

function showImage({ store }: Pick<Services, 'store'>): Route {
  return defineRoute({
    method: 'GET',
    path: '/images/:name',
    summary: 'One image.',
    query: noQuery,
    body: noBody,
    handle: async (call) => ({ status: 200, body: imageView(store, await findImage(store, call)) }),
  });
}

function deleteImage({ store }: Pick<Services, 'store'>): Route {
  return defineRoute({
    method: 'DELETE',
    path: '/images/:name',
    summary: 'Take the name away. Its root file system stays in the cache while anything else needs it.',
    query: noQuery,
    body: noBody,
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
