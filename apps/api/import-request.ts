import { formatPlatform, parsePlatform, parseReference } from '@bhatti/oci';
import { deriveImageName } from '@bhatti/tasks';
import type { z } from 'zod';
import type { ImportQuery } from './api-schema.ts';
import { ApiError } from './errors.ts';
import { checkImageName } from './pull-request.ts';
import { parseSize } from './size.ts';

/** What a client asks for with an archive, checked. */
export interface ImportRequest {
  /** Which image of the archive, as the client wrote it; undefined: there is one. */
  readonly reference: string | undefined;
  readonly name: string;
  readonly platform: string | undefined;
  readonly sizeBytes: number | undefined;
  readonly force: boolean;
}

/** Throws ApiError or OciError: invalid_reference, invalid_name, invalid_platform, invalid_request. */
export function toImportRequest(query: z.output<typeof ImportQuery>): ImportRequest {
  return {
    reference: query.ref,
    name: checkImageName(query.name ?? nameOf(query.ref)),
    platform: query.platform === undefined ? undefined : formatPlatform(parsePlatform(query.platform)),
    sizeBytes: query.size === undefined ? undefined : parseSize(query.size),
    force: query.force === 'true',
  };
}

/** What the archive itself calls its image is known only when it is read, which is too late to say what the name is. */
function nameOf(ref: string | undefined): string {
  if (ref !== undefined) return deriveImageName(parseReference(ref));
  throw new ApiError(
    400,
    'invalid_request',
    'the image needs a name: give ?name=NAME, or ?ref=REFERENCE as the archive has it, such as "python:3.12"',
  );
}
