import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { constants, createGzip } from 'node:zlib';
import type { ImageEntry } from '@bhatti/store';
import { etagOf } from '../entity-tag.ts';
import { ApiError } from '../errors.ts';

import { rootfsAnswer } from '../rootfs-answer.ts';
import { defineRoute, noBody, type Route } from '../route.ts';
import type { Services } from '../services.ts';
import { findImage } from '../visible-image.ts';
import { ownerQuery } from './images.ts';

/** Bytes that are read from the file at once: fewer cost more switches than copying, see docs/performance.md. */
const chunkBytes = 1024 * 1024;

/**
 * Files that are compressed at the same time; others go out as they are. zlib works in Node's pool of 4 threads, which
 * reading files and looking up names need as well.
 */
const mostCompressions = 2;

/** The root file system of an image as a file: for hosts without the shared folder, and for exports. */
export function rootfsRoutes({ store }: Pick<Services, 'store'>): Route[] {
  let compressing = 0;
  return [
    defineRoute({
      method: 'GET',
      path: '/images/:name/rootfs',
      summary:
        'The ext4 file of an image; its ETag is its SHA-256 where that is known. Takes Range, If-Range, If-None-Match, and sends gzip to who accepts it.',
      query: ownerQuery,
      body: noBody,
      answers: {
        200: { description: 'The file.', contentType: 'application/octet-stream' },
        206: { description: 'The range of it that was asked for.', contentType: 'application/octet-stream' },
        304: { description: 'It is what If-None-Match names.' },
      },
      handle: async (call) => {
        const { entry } = await findImage(store, call.caller, call.params.name ?? '', call.query.owner);
        const etag = await rootfsTag(store, entry);
        const file = await store.rootfs.open(entry.rootfsKey);
        try {
          const { size } = await file.stat();
          const answer = rootfsAnswer({ size, etag }, call, compressing < mostCompressions);
          const { status, headers, bytes, gzip } = answer;
          if (status === 416) {
            throw new ApiError(416, 'range_not_satisfiable', `the file has ${size} bytes; ask for some of those`, {
              headers,
            });
          }
          if (bytes === undefined) {
            await file.close();
            return { status, headers };
          }
          const content = contentOf(file, bytes === 'whole' ? {} : bytes);
          if (gzip) {
            compressing += 1;
            content.once('close', () => {
              compressing -= 1;
            });
          }
          return {
            status,
            headers: { ...headers, 'Content-Disposition': `attachment; filename="${entry.name}.ext4"` },
            contentType: 'application/octet-stream',
            stream: gzip ? compressed(content) : content,
          };
        } catch (error) {
          await file.close();
          throw error;
        }
      },
    }),
  ];
}

/**
 * By the SHA-256 of the file, in hex, so that a client can check what it got. Where that is not recorded, by the key and
 * the time of its build: in another form, so that nobody takes it for a checksum.
 */
async function rootfsTag(store: Services['store'], { rootfsKey }: ImageEntry): Promise<string> {
  const { sha256, createdAt } = await store.rootfs.read(rootfsKey);
  return sha256 === undefined ? etagOf({ rootfsKey, createdAt }) : `"${sha256}"`;
}

/** Closes the file when it is read, or destroyed. */
function contentOf(file: FileHandle, range: { start?: number; end?: number }): Readable {
  return file.createReadStream({ ...range, highWaterMark: chunkBytes });
}

function compressed(content: Readable): Readable {
  // Level 1: a root file system is halved by it at three times the speed of the default.
  const gzip = createGzip({ level: constants.Z_BEST_SPEED, chunkSize: 64 * 1024 });
  content.once('error', (error) => gzip.destroy(error));
  gzip.once('close', () => content.destroy());
  return content.pipe(gzip);
}
