import parseRanges from 'range-parser';

/** Positions of the first and the last byte, both included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface RangeRequest {
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

/**
 * Which bytes a request asks for (RFC 9110, 13.1.5 and 14.2): a range, `unsatisfiable` where it lies outside the file, or
 * `whole`. Units other than bytes and lists of ranges are answered with the whole file, and so is an If-Range that names
 * another file: it is compared strongly, and a date never matches, as no answer has a Last-Modified.
 */
export function requestedRange(
  { range, ifRange }: RangeRequest,
  { size, etags }: { size: number; etags: readonly string[] },
): ByteRange | 'whole' | 'unsatisfiable' {
  if (range === undefined || (ifRange !== undefined && !etags.includes(ifRange.trim()))) return 'whole';
  // The parser calls `bytes=-1000` of a 10-byte file unsatisfiable; a suffix longer than the file means all of it.
  const suffix = /^bytes=\s*-(\d+)\s*$/i.exec(range)?.[1];
  if (suffix !== undefined && size > 0 && Number(suffix) >= size) return { start: 0, end: size - 1 };
  const ranges = parseRanges(size, range);
  if (ranges === -1) return 'unsatisfiable';
  if (ranges === -2 || ranges.type.toLowerCase() !== 'bytes') return 'whole';
  const [only, ...more] = ranges;
  return only === undefined || more.length > 0 ? 'whole' : { start: only.start, end: only.end };
}
