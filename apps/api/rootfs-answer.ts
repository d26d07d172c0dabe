import type { IncomingHttpHeaders } from 'node:http';
import Negotiator from 'negotiator';
import { type ByteRange, requestedRange } from './byte-range.ts';
import { isUnchanged } from './entity-tag.ts';

/** The ext4 file that is asked for. */
export interface RootfsFile {
  /** Bytes. */
  readonly size: number;
  /** A strong entity tag, quoted. */
  readonly etag: string;
}

/** What to answer, and which bytes of the file to send; none without `bytes`. */
export interface RootfsAnswer {
  readonly status: 200 | 206 | 304 | 416;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes?: ByteRange | 'whole';
  readonly gzip?: boolean;
}

/**
 * Decides about a file by the headers of a request (RFC 9110): If-None-Match before Range; the whole file with gzip when
 * the client prefers that and `mayCompress`. A compressed file is other bytes and has a tag of its own.
 */
export function rootfsAnswer(
  { size, etag }: RootfsFile,
  request: { readonly method: string; readonly headers: IncomingHttpHeaders },
  mayCompress: boolean,
): RootfsAnswer {
  const { headers } = request;
  const gzipTag = `${etag.slice(0, -1)}-gzip"`;
  const common = {
    ETag: etag,
    'Cache-Control': 'private, no-cache',
    'Accept-Ranges': 'bytes',
    Vary: 'Accept-Encoding',
  };
  const ifNoneMatch = headers['if-none-match'];
  if (isUnchanged(ifNoneMatch, etag)) return { status: 304, headers: common };
  if (isUnchanged(ifNoneMatch, gzipTag)) return { status: 304, headers: { ...common, ETag: gzipTag } };
  // Ranges are defined for GET only.
  const range = request.method === 'GET' ? headers.range : undefined;
  const wanted = requestedRange({ range, ifRange: single(headers['if-range']) }, { size, etag });
  if (wanted === 'unsatisfiable') {
    return { status: 416, headers: { 'Content-Range': `bytes */${size}`, 'Accept-Ranges': 'bytes' } };
  }
  if (wanted !== 'whole') {
    const { start, end } = wanted;
    const length = { 'Content-Length': String(end - start + 1), 'Content-Range': `bytes ${start}-${end}/${size}` };
    return { status: 206, headers: { ...common, ...length }, bytes: wanted };
  }
  if (mayCompress && range === undefined && prefersGzip(request)) {
    return {
      status: 200,
      headers: { ...common, ETag: gzipTag, 'Content-Encoding': 'gzip' },
      bytes: 'whole',
      gzip: true,
    };
  }
  return { status: 200, headers: { ...common, 'Content-Length': String(size) }, bytes: 'whole' };
}

function prefersGzip(request: { readonly headers: IncomingHttpHeaders }): boolean {
  // Named, and no less wanted than plain bytes: `*` alone is no wish to have it.
  return /gzip/i.test(single(request.headers['accept-encoding']) ?? '')
    ? new Negotiator(request).encodings(['gzip', 'identity'])[0] === 'gzip'
    : false;
}

function single(header: string | readonly string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : header?.join(', ');
}
