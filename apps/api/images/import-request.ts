import { formatPlatform, parsePlatform, parseReference } from '@bhatti/oci';
import { deriveImageName } from '@bhatti/tasks';
import type * as z from 'zod';
import type { ImportQuery } from '../api-schema.ts';
import { parseSize } from '../request/size.ts';
import { checkImageName } from './pull-request.ts';

/** What a client asks for with an archive, checked. */
export interface ImportRequest {
  /** Which image of the archive, as the client wrote it; undefined where it should hold only one. */
  readonly reference: string | undefined;
  /** Where the image comes from, as the client wrote it, if the archive does not say. */
  readonly origin: string | undefined;
  /** Undefined to take it from the archive. */
  readonly name: string | undefined;
  /** Whether the name is the client's own, not one derived from a reference. */
  readonly isNameGiven: boolean;
  readonly platform: string | undefined;
  readonly sizeBytes: number | undefined;
  readonly force: boolean;
}

/** Throws ApiError or OciError: invalid_reference, invalid_name, invalid_platform, invalid_request. */
export function toImportRequest(query: z.output<typeof ImportQuery>): ImportRequest {
  const origin = query.origin === undefined ? undefined : parseReference(query.origin);
  const known = query.ref === undefined ? origin : parseReference(query.ref);
  const name = query.name ?? (known === undefined ? undefined : deriveImageName(known));
  return {
    reference: query.ref,
    origin: query.origin,
    name: name === undefined ? undefined : checkImageName(name),
    isNameGiven: query.name !== undefined,
    platform: query.platform === undefined ? undefined : formatPlatform(parsePlatform(query.platform)),
    sizeBytes: query.size === undefined ? undefined : parseSize(query.size),
    force: query.force === 'true',
  };
}
