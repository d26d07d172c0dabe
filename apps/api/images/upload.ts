import type { Readable } from 'node:stream';
import { ARCHIVE_HEAD_BYTES } from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import { ApiError } from '../request/errors.ts';

/** Ms without a byte after which an upload is given up. Long: `docker save` reads before it writes. */
const stallMilliseconds = 5 * 60_000;

export interface UploadOptions {
  readonly uploads: Store['uploads'];
  /** Of the task, and so of the upload. */
  readonly id: string;
  readonly body: Readable;
  /** Called with the first ARCHIVE_HEAD_BYTES bytes, or all if there are fewer; what it throws ends the upload. */
  readonly checkHead: (head: Uint8Array) => void;
  /** Aborted when the client is gone or the server stops. */
  readonly signal: AbortSignal;
  /** Called just before the complete upload gets its name. */
  readonly arriving: () => Promise<void>;
}

/**
 * Writes a request's body to the data directory, and resolves with its length in bytes. An incomplete one leaves nothing
 * behind. Rejects with ApiError `invalid_request` (empty, or cut off), StoreError `no_space`, or what `checkHead` throws.
 */
export async function receiveUpload(options: UploadOptions): Promise<number> {
  const { uploads, id, body, checkHead, signal, arriving } = options;
  const cut = () => body.destroy(cutOff());
  const stalled = setTimeout(cut, stallMilliseconds);
  signal.addEventListener('abort', cut, { once: true });
  try {
    if (signal.aborted) throw cutOff();
    const bytes = await uploads.receive(id, chunksOf(body, stalled, checkHead), arriving);
    if (bytes > 0) return bytes;
  } catch (error) {
    // What a refused client still sends is discarded, so that it gets to see the answer (`cutUnread` ends it).
    body.resume();
    throw body.errored === null ? error : cutOff(error);
  } finally {
    clearTimeout(stalled);
    signal.removeEventListener('abort', cut);
  }
  // If that fails, a worker collects it.
  await uploads.remove(id).catch(() => undefined);
  throw new ApiError(
    400,
    'invalid_request',
    'the archive is empty, as the body of the request is: send the output of docker save',
  );
}

/** Leaves the stream open when the reader stops early: destroying it would take the connection, and so the answer, with it. */
async function* chunksOf(
  body: Readable,
  stalled: NodeJS.Timeout,
  checkHead: UploadOptions['checkHead'],
): AsyncGenerator<Uint8Array> {
  let head = Buffer.alloc(0);
  for await (const chunk of body.iterator({ destroyOnReturn: false })) {
    stalled.refresh();
    if (head.length < ARCHIVE_HEAD_BYTES) {
      head = Buffer.concat([head, chunk]).subarray(0, ARCHIVE_HEAD_BYTES);
      if (head.length === ARCHIVE_HEAD_BYTES) checkHead(head);
    }
    yield chunk;
  }
  if (head.length < ARCHIVE_HEAD_BYTES) checkHead(head);
}

function cutOff(cause?: unknown): ApiError {
  return new ApiError(400, 'invalid_request', 'the upload broke off before its end; nothing of it is kept', { cause });
}
