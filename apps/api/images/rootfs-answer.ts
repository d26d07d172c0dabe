import type { IncomingHttpHeaders } from 'node:http';
import Negotiator from 'negotiator';
import { type ByteRange, requestedRange } from '../request/byte-range.ts';
import { isUnchanged, requireMatch } from '../request/entity-tag.ts';
import type { ContentCoding } from './rootfs-compression.ts';

/** The ext4 file that is asked for. */
export interface RootfsFile {
  /** Bytes. */
  readonly size: number;
  /** A strong entity tag, quoted. */
  readonly etag: string;
  /** The tag that the same bytes had earlier: downloads begun with it can be resumed. */
  readonly formerEtag?: string | undefined;
}

/** What to answer, and which bytes of the file to send; none without `bytes`. */
export interface RootfsAnswer {
  readonly status: 200 | 206 | 304 | 416;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes?: ByteRange | 'whole';
  /** How to compress them. */
  readonly coding?: ContentCoding;
}

const codings: readonly ContentCoding[] = ['zstd', 'gzip'];

/**
 * Decides by the headers of a request how to send a file (RFC 9110): If-Match, If-None-Match, then Range. A whole file is
 * compressed if the client prefers that, with the first of `offered` that it accepts. Compressed, the file is other bytes and
 * has a tag of its own. Throws ApiError 412 `precondition_failed`.
 */
export function rootfsAnswer(
  { size, etag, formerEtag }: RootfsFile,
  request: { readonly method: string; readonly headers: IncomingHttpHeaders },
  offered: readonly ContentCoding[],
): RootfsAnswer {
  const { headers } = request;
  const etags = formerEtag === undefined ? [etag] : [etag, formerEtag];
  const withCodings = (tag: string) => [tag, ...codings.map((coding) => codedTag(tag, coding))];
  const common = {
    ETag: etag,
    'Cache-Control': 'private, no-cache',
    'Accept-Ranges': 'bytes',
    Vary: 'Accept-Encoding',
  };
  const tags = etags.flatMap(withCodings);
  requireMatch(headers['if-match'], tags);
  const ifNoneMatch = headers['if-none-match'];
  const known = tags.find((tag) => isUnchanged(ifNoneMatch, tag));
  if (known !== undefined) return { status: 304, headers: { ...common, ETag: known } };
  // Ranges are defined for GET only.
  const range = request.method === 'GET' ? headers.range : undefined;
  const wanted = requestedRange({ range, ifRange: single(headers['if-range']) }, { size, etags });
  if (wanted === 'unsatisfiable') {
    return { status: 416, headers: { 'Content-Range': `bytes */${size}`, 'Accept-Ranges': 'bytes' } };
  }
  if (wanted !== 'whole') {
    const { start, end } = wanted;
    const length = { 'Content-Length': String(end - start + 1), 'Content-Range': `bytes ${start}-${end}/${size}` };
    return { status: 206, headers: { ...common, ...length }, bytes: wanted };
  }
  const coding = range === undefined ? preferredCoding(request, offered) : undefined;
  if (coding !== undefined) {
    return {
      status: 200,
      headers: { ...common, ETag: codedTag(etag, coding), 'Content-Encoding': coding },
      bytes: 'whole',
      coding,
    };
  }
  return { status: 200, headers: { ...common, 'Content-Length': String(size) }, bytes: 'whole' };
}

/** The tag of the file when it is compressed: other bytes. */
function codedTag(etag: string, coding: ContentCoding): string {
  return `${etag.slice(0, -1)}-${coding}"`;
}

/** The coding that the client prefers, the first offered among equals. Undefined when it prefers plain bytes. */
function preferredCoding(
  request: { readonly headers: IncomingHttpHeaders },
  offered: readonly ContentCoding[],
): ContentCoding | undefined {
  const accepted = (single(request.headers['accept-encoding']) ?? '').toLowerCase().split(',');
  // Only codings that are named: `*` alone does not ask for compression.
  const nameOf = (item: string) => item.split(';', 1)[0]?.trim();
  const named = offered.filter((coding) => accepted.some((item) => nameOf(item) === coding));
  // Among equals the negotiator takes the one listed first: we list them in the order offered.
  const rank = (item: string) =>
    [...named, undefined].findIndex((coding) => coding === undefined || coding === nameOf(item));
  const headers = { 'accept-encoding': accepted.toSorted((a, b) => rank(a) - rank(b)).join(',') };
  const first = new Negotiator({ headers }).encodings([...named, 'identity'])[0];
  return named.find((coding) => coding === first);
}

function single(header: string | readonly string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : header?.join(', ');
}
