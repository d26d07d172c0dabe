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
 * Which bytes a request asks for (RFC 9110, 13.1.5 and 14.2): a range, `whole` for all of them, `unsatisfiable` for none
 * that there are. Whole, too, are what is no range of bytes, several ranges at once, and an If-Range that names another
 * file: it is compared strongly, and a date never matches, as no answer has a Last-Modified.
 */
export function requestedRange(
  { range, ifRange }: RangeRequest,
  { size, etags }: { size: number; etags: readonly string[] },
): ByteRange | 'whole' | 'unsatisfiable' {
  if (range === undefined || (ifRange !== undefined && !etags.includes(ifRange.trim()))) return 'whole';
  // The parser takes `bytes=-1000` of 10 bytes for unsatisfiable; a suffix longer than the file is the file.
  const suffix = /^bytes=\s*-(\d+)\s*$/i.exec(range)?.[1];
  if (suffix !== undefined && size > 0 && Number(suffix) >= size) return { start: 0, end: size - 1 };
  const ranges = parseRanges(size, range);
  if (ranges === -1) return 'unsatisfiable';
  if (ranges === -2 || ranges.type.toLowerCase() !== 'bytes') return 'whole';
  const [only, ...more] = ranges;
  return only === undefined || more.length > 0 ? 'whole' : { start: only.start, end: only.end };
}
