import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { ImageEntry, RootfsRecord } from '@bhatti/store';
import { type RootfsFile, rootfsAnswer } from '../images/rootfs-answer.ts';
import type { ContentCoding, RootfsCompression } from '../images/rootfs-compression.ts';
import { findImage } from '../images/visible-image.ts';
import { etagOf } from '../request/entity-tag.ts';
import { ApiError } from '../request/errors.ts';
import { type Call, defineRoute, noBody, type Reply, type Route } from '../request/route.ts';
import type { Services } from '../services.ts';
import { ownerQuery } from './images.ts';

/** Bytes per read: with less, switching costs more than copying, see docs/performance.md. */
const chunkBytes = 1024 * 1024;

/** The root filesystem of an image as a file: for hosts without the shared folder, and for exports. */
export function rootfsRoutes({ store, compression }: Pick<Services, 'store' | 'compression'>): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/images/:name/rootfs',
      summary:
        'The ext4 file of an image; its ETag is its SHA-256 once that is known. Supports Range, If-Range and If-None-Match, and sends zstd (if the server has the program) or gzip to clients that accept it.',
      query: ownerQuery,
      body: noBody,
      answers: {
        200: { description: 'The file.', contentType: 'application/octet-stream' },
        206: { description: 'The range of it that was asked for.', contentType: 'application/octet-stream' },
        304: { description: 'It is what If-None-Match names.' },
      },
      handle: async (call) => {
        const { entry } = await findImage(store, call.caller, call.params.name ?? '', call.query.owner);
        const record = await store.rootfs.read(entry.rootfsKey);
        const file = await store.rootfs.open(entry.rootfsKey, record);
        try {
          const rootfs = { size: record.sizeBytes, ...rootfsTags(entry, record) };
          const reply = await replyWith(file, rootfs, { call, compression, offered: compression.offered });
          if (reply.stream === undefined) {
            await file.close();
            return reply;
          }
          const disposition = `attachment; filename="${entry.name}.ext4"`;
          return {
            ...reply,
            headers: { ...reply.headers, 'Content-Disposition': disposition },
            contentType: 'application/octet-stream',
          };
        } catch (error) {
          await file.close();
          throw error;
        }
      },
    }),
  ];
}

interface Sending {
  readonly call: Call;
  readonly compression: RootfsCompression;
  readonly offered: readonly ContentCoding[];
}

/** The reply has a stream only if bytes of the file are to be sent. */
async function replyWith(file: FileHandle, rootfs: RootfsFile, sending: Sending): Promise<Reply> {
  const { call, compression, offered } = sending;
  const { status, headers, bytes, coding } = rootfsAnswer(rootfs, call, offered);
  if (status === 416) {
    throw new ApiError(416, 'range_not_satisfiable', `the file has ${rootfs.size} bytes; ask for some of those`, {
      headers,
    });
  }
  if (bytes === undefined) return { status, headers };
  // A HEAD request gets no body: nothing needs to be compressed.
  if (coding === undefined || call.method === 'HEAD') {
    return { status, headers, stream: contentOf(file, bytes === 'whole' ? {} : bytes) };
  }
  try {
    return { status, headers, stream: await compression.compress(coding, file) };
  } catch (error) {
    // The program was removed since the start, or no process can be started: try another coding, or none.
    call.log.warn({ err: error }, `${coding} cannot be run`);
    return replyWith(file, rootfs, { ...sending, offered: offered.filter((other) => other !== coding) });
  }
}

/**
 * The tag is the SHA-256 of the file in hex, so that a client can verify what it got. Until that is recorded, it is made of the
 * key and the time of the build, in another form, so that nobody takes it for a checksum.
 */
function rootfsTags(
  { rootfsKey }: ImageEntry,
  { sha256, createdAt }: RootfsRecord,
): Pick<RootfsFile, 'etag' | 'formerEtag'> {
  const ofBuild = etagOf({ rootfsKey, createdAt });
  return sha256 === undefined ? { etag: ofBuild } : { etag: `"${sha256}"`, formerEtag: ofBuild };
}

/** Closes the file when it is read, or destroyed. */
function contentOf(file: FileHandle, range: { start?: number; end?: number }): Readable {
  return file.createReadStream({ ...range, highWaterMark: chunkBytes });
}
