/** A `Content-Range` header (RFC 9110, 14.4): the part that was sent, or, with status 416, only the total. Offsets in bytes. */
export interface ContentRange {
  readonly first?: number;
  readonly last?: number;
  /** Undefined when the server does not say. */
  readonly total?: number;
}

const RANGE = /^bytes\s+(?:([0-9]+)-([0-9]+)|\*)\/([0-9]+|\*)$/i;

/** Parses the header; undefined when it is absent or malformed. */
export function parseContentRange(header: string | undefined): ContentRange | undefined {
  const match = RANGE.exec(header?.trim() ?? '');
  if (match === null) return undefined;
  const [, first, last, total] = match;
  return {
    first: first === undefined ? undefined : Number(first),
    last: last === undefined ? undefined : Number(last),
    total: total === '*' ? undefined : Number(total),
  };
}
