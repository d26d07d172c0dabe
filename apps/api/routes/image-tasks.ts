import { isEnded, type KeyedRequest } from '@bhatti/tasks';
import { AlreadyThere, ImportQuery, PullBody, Queued } from '../api-schema.ts';
import { alreadyPulled } from '../images/already-pulled.ts';
import { checkArchiveHead, nameByArchive, nameByTag } from '../images/archive-name.ts';
import { type ImportRequest, toImportRequest } from '../images/import-request.ts';
import { toPullRequest } from '../images/pull-request.ts';
import { removeUnlessQueued } from '../images/unqueued-upload.ts';
import { receiveUpload } from '../images/upload.ts';
import { ApiError } from '../request/errors.ts';
import { defineRoute, noQuery, type Route, streamBody } from '../request/route.ts';
import type { Services } from '../services.ts';

/** Queueing the tasks that make images: pulls and imports. */
export function imageTaskRoutes(services: Pick<Services, 'store' | 'tasks' | 'registry' | 'overlay'>): Route[] {
  return [pullImage(services), importImage(services)];
}

function pullImage({
  store,
  tasks,
  registry,
  overlay,
}: Pick<Services, 'store' | 'tasks' | 'registry' | 'overlay'>): Route {
  return defineRoute({
    method: 'POST',
    path: '/images/pull',
    summary: 'Pull an image: 202 with the task that does it, or 200 if that digest is already there under the name.',
    query: noQuery,
    body: PullBody,
    answers: {
      200: { description: 'That digest is already there under the name.', schema: AlreadyThere },
      202: { description: 'A task was queued.', schema: Queued },
    },
    handle: async ({ body, caller, headers, signal, log, requestId }) => {
      const pull = toPullRequest(body);
      const repeat = keyedRequest(caller.owner, headers['idempotency-key'], body);
      const repeated = repeat && (await tasks.findRepeated(repeat));
      if (repeated) return { status: 202, body: { task_id: repeated, status: 'queued', name: pull.name } };
      const there = body.force
        ? null
        : await alreadyPulled({ store, registry, overlay, log }, caller.owner, pull, signal);
      if (there !== null) {
        return { status: 200, body: { status: 'exists', image: there.name, digest: there.manifestDigest } };
      }
      const id = await tasks.enqueuePull(caller.owner, pull, { requestId, repeat });
      log.info({ task_id: id, ref: pull.requested, image: pull.name, owner: caller.owner }, 'pull queued');
      return { status: 202, body: { task_id: id, status: 'queued', name: pull.name } };
    },
  });
}

/** Without the credentials: not even a hash of them may get into Redis. */
function keyedRequest(owner: string, key: string | string[] | undefined, body: object): KeyedRequest | undefined {
  if (key === undefined) return undefined;
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw new ApiError(400, 'invalid_request', 'header Idempotency-Key must be 1 to 255 printable ASCII characters');
  }
  return { owner, key, content: { ...body, auth: undefined } };
}

function importImage({ store, tasks }: Pick<Services, 'store' | 'tasks'>): Route {
  return defineRoute({
    method: 'POST',
    path: '/images/import',
    summary:
      'Import an image from an archive, which is the body: what docker save, podman save or skopeo write, or an OCI layout as a tar; plain, gzip or zstd.',
    query: ImportQuery,
    body: streamBody,
    answers: { 202: { description: 'The archive is here, and a task imports it.', schema: Queued } },
    handle: async ({ query, body, headers, caller, signal, log, requestId }) => {
      requireNoForm(headers['content-type']);
      const asked = toImportRequest(query);
      const bytes = headers['content-length'];
      const repeat = keyedRequest(caller.owner, headers['idempotency-key'], { type: 'import', ...query, bytes });
      const repeated = repeat && (await tasks.findRepeated(repeat));
      if (repeated) {
        const name = (await tasks.find(repeated))?.view.name ?? asked.name;
        return { status: 202, body: { task_id: repeated, status: 'queued', name } };
      }
      // Before gigabytes are sent for nothing.
      const id = await tasks.admitImport(caller.owner, repeat);
      await store.uploads.requireRoom(Number(bytes ?? 0));
      const checkHead = (head: Uint8Array) => checkArchiveHead(head, asked.name !== undefined);
      const archiveBytes = await receiveUpload({
        uploads: store.uploads,
        id,
        body: body.open(),
        checkHead,
        signal,
        arriving: () => tasks.noteArrival(id),
      });
      const named = await nameUpload(store, id, asked);
      try {
        await tasks.enqueueImport(caller.owner, named, { id, archiveBytes, requestId });
        // If sent twice at once, the task may have ended already: then nobody wants the second archive.
        if (repeat !== undefined && isEnded((await tasks.find(id))?.view.status ?? 'queued')) {
          await store.uploads.remove(id);
        }
      } catch (error) {
        // With a key, a repetition of the request has the same task id, and may have sent its archive by then.
        if (repeat === undefined) void removeUnlessQueued({ store, tasks }, id);
        throw error;
      }
      log.info(
        { task_id: id, ref: named.reference, image: named.name, bytes: archiveBytes, owner: caller.owner },
        'import queued',
      );
      return { status: 202, body: { task_id: id, status: 'queued', name: named.name } };
    },
  });
}

/** Throws ApiError `unsupported_media_type` for an archive wrapped in a form, as `curl -F` sends it: its task would only fail. */
function requireNoForm(contentType: string | undefined): void {
  if (!/^multipart\//i.test(contentType ?? '')) return;
  throw new ApiError(
    415,
    'unsupported_media_type',
    'the body must be the archive itself, not a form that holds it (curl -T FILE -X POST, not -F)',
  );
}

/** Takes the name from the archive unless the client gave one. Removes the upload where that fails. */
async function nameUpload({ uploads }: Services['store'], id: string, asked: ImportRequest) {
  const { name, reference, isNameGiven } = asked;
  try {
    if (name === undefined) return { ...asked, ...(await nameByArchive(uploads.path(id))) };
    if (isNameGiven || reference === undefined) return { ...asked, name };
    return { ...asked, name, ...(await nameByTag(uploads.path(id), reference)) };
  } catch (error) {
    await uploads.remove(id).catch(() => undefined);
    throw error;
  }
}
