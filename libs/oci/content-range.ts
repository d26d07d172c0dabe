/** A `Content-Range` header (RFC 9110, 14.4): of what was sent, or, with status 416, of what there is. Offsets in bytes. */
export interface ContentRange {
  readonly first?: number;
  readonly last?: number;
  /** Undefined when the server does not say. */
  readonly total?: number;
}

const RANGE = /^bytes\s+(?:([0-9]+)-([0-9]+)|\*)\/([0-9]+|\*)$/i;

/** Undefined when the header is absent or cannot be read. */
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
